using Tidemark.Qcow2.Tests.Hostile;

namespace Tidemark.Fuzz.Targets;

/// <summary>
/// Damaged qcow2 images: the input decides which image, what is damaged in it, and what is then done to it, so that the
/// search for new branches is one over structures, not over bytes of which nearly all are data.
/// </summary>
internal sealed class Qcow2Target : IFuzzTarget
{
    private static readonly HostileRun s_run = new();

    public string Name => "qcow2";

    public string Description => "qcow2 images: open, read, map, write, resize, check and repair damaged ones";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Qcow2"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(20);

    public long MemoryLimit => 256 << 20;

    // Each operation has its own limit (HostileRun.MemoryLimit); an execution makes at most twelve.
    public long AllocationLimit => 12 * HostileRun.MemoryLimit;

    public int MaximumInput => 512;

    public IEnumerable<byte[]> Seeds()
    {
        Random random = new(1);
        for (var count = 0; count < 64; count++)
        {
            var seed = new byte[64];
            random.NextBytes(seed);
            yield return seed;
        }
    }

    public long Cost => s_run.Cost;

    public void Execute(ReadOnlySpan<byte> input)
    {
        try
        {
            s_run.Execute(new ByteRandom(input.ToArray()));
        }
        catch (Exception)
        {
            Tell(input);
            throw;
        }
    }

    // Once more, and this time it is noted what is done.
    private static void Tell(ReadOnlySpan<byte> input)
    {
        HostileRun run = new() { IsTold = true };
        try
        {
            run.Execute(new ByteRandom(input.ToArray()));
        }
        catch (Exception exception)
        {
            throw new InvalidOperationException($"{run.Story}: {exception.Message}", exception);
        }
    }
}
