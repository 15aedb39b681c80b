namespace Tidemark.Blocks.Graph;

/// <summary>
/// While it lives, no request of any root of the graph is under way. Disposal lets requests in again.
/// </summary>
public sealed class DrainedSection : IDisposable
{
    private BlockGraph? _graph;

    internal DrainedSection(BlockGraph graph) => _graph = graph;

    /// <summary>Ends the section.</summary>
    public void Dispose() => Interlocked.Exchange(ref _graph, null)?.EndDrain();
}
