using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Tidemark.Testing.Images;

namespace Tidemark.Qcow2.Tests.Hostile;

/// <summary>
/// One hostile image after the other, in memory: a sketch is damaged, and then everything is done to it that a program
/// does to an image. What must hold:
///   - nothing is thrown but a <see cref="BlockException"/>, and none that says the driver itself asked its file for
///     what is outside of it
///   - one operation makes a bounded number of requests to the file, of a bounded number of bytes
///   - one execution takes at most <see cref="MemoryLimit"/> of memory over what its caches may hold
///   - an image that is open read-only is not written
///   - guest data never lands on the header, the L1 table, the refcount table or the snapshot table
///   - the file does not grow without bounds
/// </summary>
public sealed class HostileRun : IAsyncDisposable
{
    /// <summary>The most memory over the caches.</summary>
    public const long MemoryLimit = 64 << 20;

    private const int CacheLimit = 64 << 10;
    private const int CheckLimit = 4 << 20;
    private const int Capacity = 8 << 20;
    private const byte GuestByte = 0xa5;
    private const int MaximumRange = 200_000;
    private const int LargestCluster = 2 << 20;

    private readonly ImageSketch[] _sketches = HostileSketches.All();
    private readonly BudgetFile _file = new("hostile", Capacity);
    private readonly BudgetFile _data = new("data", 1 << 20);
    private readonly MemoryNode _backing = new("backing", new byte[30_000]);
    private readonly byte[] _buffer = new byte[MaximumRange];
    private readonly byte[] _guest = [.. Enumerable.Repeat(GuestByte, LargestCluster)];
    private readonly List<string> _log = [];
    private readonly ExtentList _extents = new();
    private readonly List<MappedExtent> _mapped = [];
    private bool _hasDataFile;

    /// <summary>What the last execution did.</summary>
    public string Story => string.Join("; ", _log);

    /// <summary>How many images of all were opened in spite of their damage.</summary>
    public long Opened { get; private set; }

    public async ValueTask DisposeAsync()
    {
        await _file.DisposeAsync();
        await _data.DisposeAsync();
        await _backing.DisposeAsync();
    }

    /// <summary>One execution.</summary>
    /// <exception cref="Exception">Something that must hold did not.</exception>
    public void Execute(Random random)
    {
        _log.Clear();
        var sketch = _sketches[random.Next(_sketches.Length)];
        _log.Add($"sketch {Array.IndexOf(_sketches, sketch)}: {sketch.Options}");
        _file.Reset(sketch.File, sketch.File.Length);
        _data.Reset(sketch.Data, sketch.Data.Length);
        _data.LengthBudget = 1L << 56;
        _hasDataFile = sketch.Options.HasDataFile;
        for (var count = random.Next(4); count >= 0; count--)
        {
            _log.Add(ImageMutation.Apply(_file.Content, sketch, random));
        }

        Stretch(random);
        // A repair puts new refcounts behind what the image refers to, up to 2^20 clusters past its end.
        _file.LengthBudget = _file.Length + (1L << 30) + ((1L << 20) * sketch.ClusterSize);
        var before = GC.GetAllocatedBytesForCurrentThread();
        if (random.Next(3) == 0)
        {
            Check(random);
        }

        if (random.Next(2) == 0)
        {
            Read(random);
        }
        else
        {
            Write(random);
        }

        var taken = GC.GetAllocatedBytesForCurrentThread() - before;
        if (taken > MemoryLimit)
        {
            throw new BudgetException($"one image took {taken >> 20} MiB of memory");
        }
    }

    // A file may be cut short, or be huge and empty: tables that lie in a hole cost an attacker nothing.
    private void Stretch(Random random)
    {
        var length = random.Next(12) switch
        {
            0 => random.NextInt64(_file.Length),
            1 => _file.Length + random.Next(1000),
            2 => 1L << random.Next(20, 56),
            _ => _file.Length,
        };
        if (length != _file.Length)
        {
            _log.Add($"file length {length}");
            _file.SetLength(length);
        }
    }

    private void Check(Random random)
    {
        var repair = (Qcow2Repair)random.Next(3);
        _log.Add($"check, repair {repair}");
        _file.IsSealed = repair == Qcow2Repair.None;
        Do(2_000_000, () => Wait(Qcow2Check.RunAsync(
            _file, new Qcow2CheckOptions { Repair = repair, MemoryLimit = CheckLimit })));
        _file.IsSealed = false;
    }

    private void Read(Random random)
    {
        _log.Add("open read-only");
        _file.IsSealed = true;
        if (Open(readOnly: true, random) is { } node)
        {
            for (var count = random.Next(1, 5); count > 0; count--)
            {
                ReadStep(node, random);
            }

            Do(1000, () => Wait(node.DisposeAsync()));
        }

        _file.IsSealed = false;
    }

    private void Write(Random random)
    {
        _log.Add("open for writing");
        if (Open(readOnly: false, random) is not { } node)
        {
            return;
        }

        // Opening repairs a dirty image, which may give it another refcount table; the old one is free then.
        var header = _file.Content[..Math.Min(_file.Content.Length, 112)].ToArray();

        for (var count = random.Next(1, 8); count > 0; count--)
        {
            WriteStep(node, random);
        }

        Do(200_000, () => Wait(node.DisposeAsync()));
        CheckTables();
    }

    private Qcow2Node? Open(bool readOnly, Random random)
    {
        Qcow2Node? node = null;
        Do(300_000, () => node = Wait(Qcow2Node.OpenAsync("a", _file, new Qcow2OpenOptions
        {
            ReadOnly = readOnly,
            Backing = random.Next(2) == 0 ? _backing : null,
            WithoutBacking = true,
            DataFile = _hasDataFile ? _data : null,
            DiscardNoUnref = random.Next(4) == 0,
            BrokenBitmaps = (BrokenBitmapPolicy)random.Next(3),
            MetadataCacheLimit = CacheLimit,
            GrowthStep = 4096,
        })));
        Opened += node is null ? 0 : 1;
        return node;
    }

    private void ReadStep(Qcow2Node node, Random random)
    {
        var (offset, length) = Range(node.Length, random);
        switch (random.Next(3))
        {
            case 0:
                _log.Add($"read {offset}+{length}");
                Do(Budget(length, node), () => Wait(node.ReadAsync(offset, _buffer.AsMemory(0, length))));
                break;
            case 1:
                _log.Add($"status {offset}+{length}");
                _extents.Clear();
                Do(Budget(length, node), () => Wait(node.GetBlockStatusAsync(offset, length, _extents)));
                break;
            default:
                _log.Add($"map {offset}+{length}");
                _mapped.Clear();
                Do(Budget(length, node), () => Wait(node.MapAsync(offset, length, _mapped)));
                break;
        }
    }

    private void WriteStep(Qcow2Node node, Random random)
    {
        var (offset, length) = Range(node.Length, random);
        var kind = random.Next(11);
        var change = random.Next(-200, 200) * 512L;
        _log.Add($"step {kind} {offset}+{length}");
        Do(Budget(length, node), () =>
        {
            switch (kind)
            {
                case 0:
                    Wait(node.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap));
                    break;
                case 1:
                    Wait(node.WriteZeroesAsync(offset, length));
                    break;
                case 2:
                    Wait(node.DiscardAsync(offset, length));
                    break;
                case 3:
                    Wait(node.FlushAsync());
                    break;
                case 4:
                    Wait(node.ReadAsync(offset, _buffer.AsMemory(0, length)));
                    break;
                case 5:
                    ChangeBitmaps(node);
                    break;
                case 6:
                    Wait(node.ResizeDiskAsync(Math.Max(0, (node.Length + change) & ~511L)));
                    break;
                case 7:
                    WriteCompressed(node, offset);
                    break;
                default:
                    Wait(node.WriteAsync(offset, _guest.AsMemory(0, length)));
                    break;
            }
        });
    }

    private void WriteCompressed(Qcow2Node node, long offset)
    {
        var start = offset / node.ClusterSize * node.ClusterSize;
        var length = (int)Math.Min(node.ClusterSize, node.Length - start);
        if (length > 0)
        {
            Wait(node.WriteCompressedAsync(start, _guest.AsMemory(0, length)));
        }
    }

    private static void ChangeBitmaps(Qcow2Node node)
    {
        if (node.Bitmaps.FirstOrDefault(bitmap => bitmap.Name is not null) is { } first)
        {
            node.Bitmaps.Remove(first);
            Wait(node.RemoveStoredBitmapAsync(first.Name!));
        }
        else if (node.CanStorePersistentBitmap("new", 65536, out _) && node.Length < 1L << 32)
        {
            node.Bitmaps.Add(new DirtyBitmap("new", node.Length) { IsPersistent = true });
        }
    }

    private static (long Offset, int Length) Range(long size, Random random)
    {
        var near = random.Next(3) == 0 ? size : Math.Min(size, 60_000);
        var offset = random.NextInt64(near + 1);
        return (offset, (int)random.NextInt64(Math.Min(size - offset, random.Next(4) == 0 ? MaximumRange : 5000) + 1));
    }

    private static long Budget(long length, Qcow2Node node) => 2000 + ((length / node.ClusterSize) * 32);

    // Runs one operation within its budget; a refusal ends the operation, nothing else may.
    private void Do(long requests, Action operation)
    {
        _file.Refill();
        _file.RequestBudget = requests;
        _file.ByteBudget = 2L << 30;
        try
        {
            operation();
        }
        catch (BlockException exception)
            when (exception.Kind is not (BlockErrorKind.OutOfRange or BlockErrorKind.ReadOnly))
        {
            _log.Add(exception.Message);
            if (exception.Message.Length == 0)
            {
                throw new InvalidOperationException("an error without a message");
            }
        }
    }

    private static void Wait(ValueTask task)
    {
        // Everything is in memory: what does not complete at once waits for something that never comes.
        if (!task.IsCompleted)
        {
            throw new BudgetException("an operation waits for ever");
        }

        task.GetAwaiter().GetResult();
    }

    private static T Wait<T>(ValueTask<T> task) => task.IsCompleted
        ? task.GetAwaiter().GetResult()
        : throw new BudgetException("an operation waits for ever");

    // The tables that the header names now: a resize or a repair may have moved them.
    private void CheckTables()
    {
        var content = _file.Content;
        if (content.Length < 112)
        {
            return;
        }

        var header = content[..112];
        CheckRange(content, 0, 112, "the header");
        var l1 = BinaryPrimitives.ReadUInt64BigEndian(header[40..]);
        var l1Length = Math.Min(BinaryPrimitives.ReadUInt32BigEndian(header[36..]) * 8L, Capacity);
        CheckRange(content, (long)Math.Min(l1, int.MaxValue), l1Length, "the L1 table");
        var table = BinaryPrimitives.ReadUInt64BigEndian(header[48..]);
        CheckRange(content, (long)Math.Min(table, int.MaxValue), 1 << (header[23] & 31), "the refcount table");
    }

    private static void CheckRange(ReadOnlySpan<byte> content, long offset, long length, string what)
    {
        if (offset >= content.Length)
        {
            return;
        }

        Span<byte> guest = stackalloc byte[8];
        guest.Fill(GuestByte);
        var range = content.Slice((int)offset, (int)Math.Min(length, content.Length - offset));
        if (range.IndexOf(guest) is var at && at >= 0)
        {
            throw new InvalidOperationException($"guest data lies in {what}, at {offset + at}");
        }
    }
}
