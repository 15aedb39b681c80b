using SharpFuzz.Common;

namespace Tidemark.Fuzz;

/// <summary>
/// Which branches an execution took. The instrumented assemblies count every edge in a map of 64 KiB; an execution
/// that reaches an edge for the first time, or a new order of magnitude of its count, found something.
/// </summary>
/// <remarks>Counting is not synchronized: with several threads a count may be lost, which costs the search only.
/// </remarks>
internal sealed unsafe class Coverage
{
    private const int Edges = 1 << 16;

    // Pinned and never freed: assemblies write to it for as long as the process lives.
    private readonly byte[] _counts = GC.AllocateArray<byte>(Edges, pinned: true);
    private readonly byte[] _seen = new byte[Edges];

    public Coverage()
    {
        fixed (byte* counts = _counts)
        {
            Trace.SharedMem = counts;
        }
    }

    /// <summary>Edges seen so far.</summary>
    public int Seen { get; private set; }

    /// <summary>Forgets the counts before an execution.</summary>
    public void Begin()
    {
        Array.Clear(_counts);
        Trace.PrevLocation = 0;
    }

    /// <summary>Whether the execution found something new.</summary>
    public bool End()
    {
        var found = false;
        var counts = _counts.AsSpan();
        for (var at = counts.IndexOfAnyExcept((byte)0); at >= 0;)
        {
            var bucket = (byte)(1 << int.Min(7, int.Log2(counts[at])));
            if ((_seen[at] & bucket) == 0)
            {
                Seen += _seen[at] == 0 ? 1 : 0;
                _seen[at] |= bucket;
                found = true;
            }

            var next = counts[(at + 1)..].IndexOfAnyExcept((byte)0);
            at = next < 0 ? -1 : at + 1 + next;
        }

        return found;
    }
}
