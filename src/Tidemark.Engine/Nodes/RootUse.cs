using Tidemark.Blocks.Graph;

namespace Tidemark.Engine.Nodes;

/// <summary>A user of a node that is no node itself: an export. What it does, and what it lets others do.</summary>
/// <param name="Backend">The root.</param>
/// <param name="Writes">Whether it writes.</param>
/// <param name="SharesWrite">Whether it bears others that write.</param>
internal sealed record RootUse(BlockBackend Backend, bool Writes, bool SharesWrite);
