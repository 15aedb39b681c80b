using System.Buffers;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Cli.Demo;

/// <summary>The demo's virtual machine: it writes to its disk as a guest
/// would, one write after the other, and keeps a log.</summary>
internal sealed class DemoGuest
{
    private const int KiB = 1024;
    private const int MiB = 1024 * KiB;
    private const int WritesPerBurst = 4;

    private readonly BlockNode _disk;
    private readonly List<(long Offset, int Length)> _files = [];
    private readonly List<(long Offset, int Length)> _workingSet = [];
    private SplitMix _random;

    /// <summary>Creates a guest.</summary>
    /// <param name="disk">Its disk; the guest does not dispose it.</param>
    /// <param name="seed">The same seed gives the same writes.</param>
    public DemoGuest(BlockNode disk, ulong seed)
    {
        _disk = disk;
        _random = new SplitMix(seed);
    }

    /// <summary>What it wrote.</summary>
    public GuestLog Log { get; } = new();

    /// <summary>Fills a quarter of the empty disk: runs of text, binaries
    /// and recurring blocks, with free space between.</summary>
    /// <param name="report">Told after each write how many bytes are written.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <returns>How many bytes were written; none was written twice.</returns>
    public async Task<long> InstallAsync(Action<long> report, CancellationToken cancellationToken)
    {
        var written = 0L;
        for (var offset = 0L; offset + (4 * MiB) <= _disk.Length; offset += 4 * MiB)
        {
            // In each 4 MiB, 1 MiB in the middle of nowhere: some runs join, most stand alone.
            var position = offset + (_random.Next(4) * (long)MiB);
            var kind = _random.Next(10) switch { < 5 => ContentKind.Text, < 8 => ContentKind.Random, _ =>
                ContentKind.Repeated };
            await WriteAsync(position, MiB, kind, cancellationToken);
            _files.Add((position, MiB));
            written += MiB;
            report(written);
        }

        await _disk.FlushAsync(cancellationToken);
        return written;
    }

    /// <summary>
    /// Writes about so many bytes, as a running system does: small, again and again to the few files that it works on,
    /// now and then to another one or a new one.
    /// </summary>
    public async Task WorkAsync(long length, CancellationToken cancellationToken)
    {
        _workingSet.Clear();
        for (var count = Math.Max(1, _files.Count / 10); count > 0; count--)
        {
            _workingSet.Add(_files[(int)_random.Next((uint)_files.Count)]);
        }

        for (var written = 0L; written < length;)
        {
            written += await WriteSomewhereAsync(cancellationToken);
        }

        await _disk.FlushAsync(cancellationToken);
    }

    /// <summary>Goes on with the same work, with a short pause after
    /// every few writes, until it is told to stop.</summary>
    /// <param name="pause">How long to pause.</param>
    /// <param name="time">The clock of the pauses.</param>
    /// <param name="stop">Tells it to stop, between two writes; that is no failure.</param>
    public async Task WorkUntilAsync(TimeSpan pause, TimeProvider time, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            for (var count = 0; count < WritesPerBurst; count++)
            {
                await WriteSomewhereAsync(CancellationToken.None);
            }

            await Task.Delay(pause, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task<int> WriteSomewhereAsync(CancellationToken cancellationToken)
    {
        var choice = _random.Next(50);
        var files = choice == 0 ? _files : _workingSet;
        var (start, extent) = files[(int)_random.Next((uint)files.Count)];
        if (choice == 1)
        {
            // A new file, in free space or over an old one.
            start = _random.Next((uint)(_disk.Length / MiB)) * (long)MiB;
            _files.Add((start, extent));
        }

        var length = 4 * KiB << (int)_random.Next(6);
        var kind =
            _random.Next(20) switch { < 11 => ContentKind.Text, < 19 => ContentKind.Random, _ => ContentKind.Zeroes };
        var offset = start + (_random.Next((uint)((extent - length) / (4 * KiB)) + 1) * 4L * KiB);
        await WriteAsync(offset, length, kind, cancellationToken);
        return length;
    }

    private async Task WriteAsync(long offset, int length, ContentKind kind, CancellationToken cancellationToken)
    {
        var write = Log.Begin(offset, length, kind, _random.Next());
        if (kind == ContentKind.Zeroes)
        {
            await _disk.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap, cancellationToken);
        }
        else
        {
            var buffer = ArrayPool<byte>.Shared.Rent(length);
            Content.Fill(buffer.AsSpan(0, length), kind, write.Seed);
            await _disk.WriteAsync(offset, buffer.AsMemory(0, length), WriteFlags.None, cancellationToken);
            ArrayPool<byte>.Shared.Return(buffer);
        }

        Log.Acknowledge(write);
    }
}
