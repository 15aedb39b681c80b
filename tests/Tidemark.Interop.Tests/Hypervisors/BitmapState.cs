namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>A bitmap, as <c>query-named-block-nodes</c> shows it.</summary>
internal sealed record BitmapState(
    string Node, string Name, bool Persistent, bool Busy, bool Recording, bool Inconsistent);
