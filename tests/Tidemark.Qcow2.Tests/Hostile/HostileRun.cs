using System.Buffers.Binary;
using System.Runtime.ExceptionServices;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Qcow2.Format;
using Tidemark.Testing;
using Tidemark.Testing.Images;

namespace Tidemark.Qcow2.Tests.Hostile;

/// <summary>
/// One hostile image after the other, in memory: a sketch is damaged, and then everything is done to it that a program
/// does to an image. What must hold:
///   - nothing is thrown but a <see cref="BlockException"/>, and none that says the driver itself asked its file for
///     what is outside of it
///   - one operation makes a bounded number of requests to the file, of a bounded number of bytes
///   - one operation takes at most <see cref="MemoryLimit"/> of memory, garbage that it has made included
///   - an image that is open read-only is not written
///   - guest data never lands on the header, the L1 table, the refcount table or the snapshot table
///   - the file grows at most by what <see cref="Growth"/> allows
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
    private const long LargestStep = 1L << 30;

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

    /// <summary>Whether executions note what they do, which costs as much as they do.</summary>
    public bool IsTold { get; init; }

    /// <summary>What the last execution did, if it is told.</summary>
    public string Story => string.Join("; ", _log);

    /// <summary>What the last execution cost: requests to the file, and pieces of 4096 bytes.</summary>
    public long Cost { get; private set; }

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
        if (IsTold)
        {
            _log.Add($"sketch {Array.IndexOf(_sketches, sketch)}: {sketch.Options}");
        }

        Cost = 0;
        _file.Reset(sketch.File, sketch.File.Length);
        _data.Reset(sketch.Data, sketch.Data.Length);
        _data.LengthBudget = 1L << 56;
        _hasDataFile = sketch.Options.HasDataFile;
        for (var count = random.Next(4); count >= 0; count--)
        {
            ImageMutation.Apply(_file.Content, sketch, random, IsTold ? _log : null);
        }

        Stretch(random);
        _file.LengthBudget = _file.Length + Growth(sketch) + Math.Min(_file.Length / 4, LargestStep);
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
    }

    // A repair puts new refcounts behind what the image refers to, at most MaximumRepairGap past its end; a refcount
    // table is at most so long; full refcount blocks make an allocation pass over what they count (twice what one block
    // counts, at most, see RefcountStore); and what is written is less than the rest. Besides, a long file grows in
    // long steps (ImageFile).
    private static long Growth(ImageSketch sketch) => Qcow2Limits.MaximumRepairGap
        + Qcow2Limits.MaximumRefcountTableBytes + (16L << 20)
        + (2L << (sketch.Options.ClusterBits + sketch.Options.ClusterBits + 3 - sketch.Options.RefcountOrder));

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
            Tell($"file length {length}");
            _file.SetLength(length);
        }
    }

    private void Check(Random random)
    {
        var repair = (Qcow2Repair)random.Next(3);
        Tell($"check, repair {repair}");
        _file.IsSealed = repair == Qcow2Repair.None;
        Do(2_000_000, () => Plain(Qcow2Check.RunAsync(
            _file, new Qcow2CheckOptions { Repair = repair, MemoryLimit = CheckLimit })));
        _file.IsSealed = false;
    }

    private void Read(Random random)
    {
        Tell("open read-only");
        _file.IsSealed = true;
        if (Open(readOnly: true, random) is { } node)
        {
            for (var count = random.Next(1, 5); count > 0; count--)
            {
                ReadStep(node, random);
            }

            Do(1000, () => node.DisposeAsync());
        }

        _file.IsSealed = false;
    }

    private void Write(Random random)
    {
        Tell("open for writing");
        if (Open(readOnly: false, random) is not { } node)
        {
            return;
        }

        for (var count = random.Next(1, 8); count > 0; count--)
        {
            WriteStep(node, random);
        }

        Do(200_000, () => node.DisposeAsync());
        CheckTables();
    }

    private Qcow2Node? Open(bool readOnly, Random random)
    {
        Qcow2Node? node = null;
        Qcow2OpenOptions options = new()
        {
            ReadOnly = readOnly,
            Backing = random.Next(2) == 0 ? _backing : null,
            WithoutBacking = true,
            DataFile = _hasDataFile ? _data : null,
            DiscardNoUnref = random.Next(4) == 0,
            BrokenBitmaps = (BrokenBitmapPolicy)random.Next(3),
            MetadataCacheLimit = CacheLimit,
            GrowthStep = 4096,
        };
        Do(300_000, () =>
        {
            var opening = Qcow2Node.OpenAsync("a", _file, options);
            node = opening.IsCompletedSuccessfully ? opening.Result : null;
            return node is null ? Plain(opening) : default;
        });
        Opened += node is null ? 0 : 1;
        return node;
    }

    private void ReadStep(Qcow2Node node, Random random)
    {
        var (offset, length) = Range(node.Length, random);
        switch (random.Next(3))
        {
            case 0:
                Tell($"read {offset}+{length}");
                Do(Budget(length, node), () => node.ReadAsync(offset, _buffer.AsMemory(0, length)));
                break;
            case 1:
                Tell($"status {offset}+{length}");
                _extents.Clear();
                Do(Budget(length, node), () => node.GetBlockStatusAsync(offset, length, _extents));
                break;
            default:
                Tell($"map {offset}+{length}");
                _mapped.Clear();
                Do(Budget(length, node), () => Plain(node.MapAsync(offset, length, _mapped)));
                break;
        }
    }

    private void WriteStep(Qcow2Node node, Random random)
    {
        var (offset, length) = Range(node.Length, random);
        var kind = random.Next(11);
        var change = random.Next(-200, 200) * 512L;
        Tell($"step {kind} {offset}+{length}");
        Do(Budget(length, node), () => kind switch
        {
            0 => node.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap),
            1 => node.WriteZeroesAsync(offset, length),
            2 => node.DiscardAsync(offset, length),
            3 => node.FlushAsync(),
            4 => node.ReadAsync(offset, _buffer.AsMemory(0, length)),
            5 => ChangeBitmaps(node),
            6 => node.ResizeDiskAsync(Math.Max(0, (node.Length + change) & ~511L)),
            7 => WriteCompressed(node, offset),
            _ => node.WriteAsync(offset, _guest.AsMemory(0, length)),
        });
    }

    private ValueTask WriteCompressed(Qcow2Node node, long offset)
    {
        var start = offset / node.ClusterSize * node.ClusterSize;
        var length = (int)Math.Min(node.ClusterSize, node.Length - start);
        return length > 0 ? node.WriteCompressedAsync(start, _guest.AsMemory(0, length)) : default;
    }

    private static ValueTask ChangeBitmaps(Qcow2Node node)
    {
        if (node.Bitmaps.FirstOrDefault(bitmap => bitmap.Name is not null) is { } first)
        {
            node.Bitmaps.Remove(first);
            return node.RemoveStoredBitmapAsync(first.Name!);
        }

        if (node.CanStorePersistentBitmap("new", 65536, out _) && node.Length < 1L << 32)
        {
            node.Bitmaps.Add(new DirtyBitmap("new", node.Length) { IsPersistent = true });
        }

        return default;
    }

    private static (long Offset, int Length) Range(long size, Random random)
    {
        var near = random.Next(3) == 0 ? size : Math.Min(size, 60_000);
        var offset = random.NextInt64(near + 1);
        return (offset, (int)random.NextInt64(Math.Min(size - offset, random.Next(4) == 0 ? MaximumRange : 5000) + 1));
    }

    private static long Budget(long length, Qcow2Node node) => 2000 + ((length / node.ClusterSize) * 32);

    // Runs one operation within its budget; a refusal ends the operation, nothing else may.
    private void Do(long requests, Func<ValueTask> operation)
    {
        _file.Refill();
        _file.RequestBudget = requests;
        _file.ByteBudget = 2L << 30;
        Exception? failure = null;
        var before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            var task = operation();
            if (!task.IsCompleted)
            {
                // Everything is in memory: what does not complete at once waits for something that never comes.
                throw new BudgetException("an operation waits for ever");
            }

            // Taken out of the task, not thrown once more: that is most of what a refusal costs.
            failure = task.IsCompletedSuccessfully ? null : task.AsTask().Exception?.InnerException;
        }
        catch (BlockException exception)
        {
            failure = exception;
        }

        var taken = GC.GetAllocatedBytesForCurrentThread() - before;
        if (taken > MemoryLimit)
        {
            throw new BudgetException($"one operation took {taken >> 20} MiB of memory");
        }

        Cost += _file.Requests + (_file.Bytes >> 12);
        if (failure is not null)
        {
            CheckRefusal(failure);
        }
    }

    private void CheckRefusal(Exception failure)
    {
        if (failure is not BlockException { Kind: not (BlockErrorKind.OutOfRange or BlockErrorKind.ReadOnly) } refusal)
        {
            ExceptionDispatchInfo.Throw(failure);
            return;
        }

        if (refusal.Message.Length == 0)
        {
            throw new InvalidOperationException("an error without a message");
        }

        if (IsTold)
        {
            _log.Add(refusal.Message);
        }
    }

    private void Tell(string what)
    {
        if (IsTold)
        {
            _log.Add(what);
        }
    }

    private static ValueTask Plain<T>(ValueTask<T> task) =>
        task.IsCompletedSuccessfully ? default : new ValueTask(task.AsTask());

    // The tables that the header names now: a resize or a repair may have moved them.
    private void CheckTables()
    {
        var content = _file.Written;
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
