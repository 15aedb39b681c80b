using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Copy;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Tests.Filters;

/// <summary>The two shapes of the frozen view.</summary>
public enum FrozenViewShape
{
    /// <summary>A snapshot-access node over the filter, with a plain scratch.</summary>
    SnapshotAccess,

    /// <summary>A scratch overlay whose backing node is the disk below the filter.</summary>
    Overlay,
}

/// <summary>
/// One interleaving: a disk of a few clusters with the filter on it, a guest that writes, readers of the view, a
/// scratch that is slow and may fail, a background copy, time-outs, cancelled writes; all in an order chosen by a seed.
/// </summary>
/// <remarks>
/// What is checked: a read of the view gives the bytes of t0 or an error that has a reason; bytes called zero were zero
/// at t0; the disk is what the guest made of it; everything comes to an end.
/// </remarks>
internal sealed class FrozenViewWorld : IAsyncDisposable
{
    private const int Unit = 128;
    private const int MaximumGuests = 4;
    private const int MaximumReaders = 3;

    private readonly Random _random;
    private readonly SteppedWorld _world;
    private readonly ManualClock _clock = new();
    private readonly SteppedNode _disk;
    private readonly BlockNode _scratch;
    private readonly CopyBeforeWriteFilter _filter;
    private readonly BlockNode _view;
    private readonly FrozenViewShape _shape;
    private readonly byte[] _frozen;
    private readonly byte[] _guest;
    private readonly bool[] _busy;
    private readonly bool _timesOut;
    private readonly List<Guest> _guests = [];
    private readonly List<Reader> _readers = [];
    private Task? _background;
    private Task? _discarding;
    private bool _stopped;
    private bool _timedOut;
    private bool _notKept;

    public FrozenViewWorld(FrozenViewShape shape, int seed)
    {
        _random = new Random(seed);
        _world = new SteppedWorld(_random);
        _shape = shape;

        // The last cluster may be partial.
        var length = (4 + _random.Next(5)) * SteppedNode.ClusterSize - (_random.Next(3) * Unit);
        _frozen = Fill(length);
        _guest = [.. _frozen];
        _busy = new bool[length / Unit];
        var failing = _random.Next(3) == 0;
        _world.FailurePercent = failing ? 15 : 0;
        _timesOut = _random.Next(4) == 0;
        var failsReads = failing && _random.Next(3) == 0;
        _disk = new SteppedNode("disk", _world, [.. _frozen], failsReads, failsWrites: false);
        var file = new SteppedNode("scratch-file", _world, new byte[length], failsReads: false, failsWrites: true);
        _scratch = shape == FrozenViewShape.Overlay ? new SteppedOverlay("scratch", file, _disk) : file;
        _filter = new CopyBeforeWriteFilter("filter", _disk, _scratch, new CopyBeforeWriteOptions
        {
            OnError = _random.Next(3) == 0
                ? CopyBeforeWritePolicy.BreakGuestWrite
                : CopyBeforeWritePolicy.BreakSnapshot,
            Timeout = _timesOut ? TimeSpan.FromSeconds(1) : null,
            Access = shape == FrozenViewShape.SnapshotAccess && _random.Next(6) == 0 ? MakeAccess(length) : null,
            Copy = new BlockCopyOptions
            {
                MinimumClusterSize = SteppedNode.ClusterSize,
                MaximumBytesInFlight = SteppedNode.ClusterSize * (1 + _random.Next(8)),
                DetectZeroes = _random.Next(2) == 0,
                InlineContinuations = true,
            },
            Clock = _clock,
        });
        _notKept = _filter.Copy.BytesTotal < length;
        _view = shape == FrozenViewShape.Overlay ? _scratch : new SnapshotAccessNode("view", _filter);
    }

    public void Run()
    {
        var steps = 20 + _random.Next(50);
        for (var step = 0; step < steps; step++)
        {
            Step();
            Reap();
            if (_filter.SnapshotError is not null)
            {
                // All that is left to see is how the requests under way end.
                steps = Math.Min(steps, step + 6);
            }
        }

        Drain();
        CheckDisk();
        var all = _filter.SnapshotError is null && !_notKept;
        for (var offset = 0; offset < (all ? _frozen.Length : 1); offset += SteppedNode.ClusterSize)
        {
            StartRead(offset, Math.Min(SteppedNode.ClusterSize, _frozen.Length - offset));
            Drain();
        }

    }

    public async ValueTask DisposeAsync()
    {
        if (_shape == FrozenViewShape.SnapshotAccess)
        {
            await _view.DisposeAsync();
        }

        await _filter.DisposeAsync();
        await _scratch.DisposeAsync();
        await _disk.DisposeAsync();
    }

    private void Step()
    {
        var choice = _random.Next(100);
        switch (choice)
        {
            case < 24:
                StartGuest();
                break;
            case < 42:
                StartRead(-1, 0);
                break;
            case < 46:
                StartStatus();
                break;
            case < 48 when _shape == FrozenViewShape.SnapshotAccess && _discarding is null:
                StartDiscard();
                break;
            case 50 when _background is null && _random.Next(2) == 0:
                _background = _filter.Copy.RunAsync(new BlockCopyRun { Workers = 2 });
                break;
            case 51 when _random.Next(4) == 0:
                _stopped = true;
                _filter.Stop();
                break;
            case 52 when _guests.Count > 0:
                _guests[_random.Next(_guests.Count)].Cancel.Cancel();
                break;
            case 53 or 54 when _clock.Count > 0:
                _timedOut = true;
                _clock.Fire(_random.Next(_clock.Count));
                break;
            default:
                if (_world.PendingCount > 0)
                {
                    _world.ReleaseOne();
                }

                break;
        }
    }

    private void Drain()
    {
        for (var turn = 0; _world.PendingCount > 0; turn++)
        {
            Require(turn < 100_000, "requests go on for ever");
            _world.ReleaseOne();
            Reap();
        }

        Reap();
        Require(_guests.Count == 0, "a guest's request hangs");
        Require(_readers.Count == 0, "a read of the view hangs");
        Require(_background is null or { IsCompleted: true }, "the background copy hangs");
        Require(_discarding is null, "a discard of the view hangs");
    }

    private void StartGuest()
    {
        if (_guests.Count >= MaximumGuests || !TryPick(out var offset, out var length))
        {
            return;
        }

        var data = new byte[length];
        var cancel = new CancellationTokenSource();
        Task pending;
        switch (_random.Next(6))
        {
            case 0:
                pending = _filter.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap, cancel.Token).AsTask();
                break;
            case 1:
                pending = _filter.DiscardAsync(offset, length, cancel.Token).AsTask();
                break;
            default:
                _random.NextBytes(data);
                pending = _filter.WriteAsync(offset, data, WriteFlags.None, cancel.Token).AsTask();
                break;
        }

        _busy.AsSpan(offset / Unit, length / Unit).Fill(true);
        _guests.Add(new Guest(pending, offset, data, cancel));
    }

    // A guest does not write the same bytes twice at one time; different bytes of one cluster it does.
    private bool TryPick(out int offset, out int length)
    {
        var first = _random.Next(_busy.Length);
        var count = 1 + _random.Next(Math.Min(_random.Next(2) == 0 ? 4 : 12, _busy.Length - first));
        (offset, length) = (first * Unit, count * Unit);
        return !_busy.AsSpan(first, count).Contains(true);
    }

    private void StartRead(int offset, int length)
    {
        if (_readers.Count >= MaximumReaders)
        {
            return;
        }

        if (offset < 0)
        {
            offset = _random.Next(_frozen.Length);
            length = 1 + _random.Next(Math.Min(_frozen.Length - offset, 3 * SteppedNode.ClusterSize));
        }

        var target = new byte[length];
        _readers.Add(new Reader(_view.ReadAsync(offset, target).AsTask(), offset, target, null));
    }

    private void StartStatus()
    {
        if (_readers.Count < MaximumReaders)
        {
            var offset = _random.Next(_frozen.Length);
            var length = 1 + _random.Next(_frozen.Length - offset);
            var extents = new ExtentList();
            var pending = _view.GetBlockStatusAsync(offset, length, extents).AsTask();
            _readers.Add(new Reader(pending, offset, new byte[length], extents));
        }
    }

    private void StartDiscard()
    {
        var offset = _random.Next(_frozen.Length);
        var length = 1 + _random.Next(_frozen.Length - offset);
        _notKept = true;
        _discarding = _view.DiscardAsync(offset, length).AsTask();
    }

    // Looks at what has completed.
    private void Reap()
    {
        for (var index = _guests.Count - 1; index >= 0; index--)
        {
            if (_guests[index].Pending.IsCompleted)
            {
                EndGuest(_guests[index]);
                _guests.RemoveAt(index);
            }
        }

        for (var index = _readers.Count - 1; index >= 0; index--)
        {
            if (_readers[index].Pending.IsCompleted)
            {
                EndRead(_readers[index]);
                _readers.RemoveAt(index);
            }
        }

        if (_discarding is { IsCompleted: true })
        {
            Require(_discarding.IsCompletedSuccessfully || MayFail, "a discard failed without a reason");
            _ = _discarding.Exception;
            _discarding = null;
        }

        if (_background is { IsFaulted: true, Exception: { } failure })
        {
            Require(
                failure.InnerException is BlockException && MayFail,
                $"the background copy failed without a reason: {failure.InnerException}");
        }
    }

    private bool MayFail => _world.AnyFailed || _timedOut || _stopped;

    private void EndGuest(Guest guest)
    {
        var length = guest.Data.Length;
        _busy.AsSpan(guest.Offset / Unit, length / Unit).Clear();
        if (guest.Pending.IsCompletedSuccessfully)
        {
            guest.Data.CopyTo(_guest, guest.Offset);
        }
        else if (guest.Pending.Exception?.InnerException is { } error)
        {
            Require(error is BlockException && MayFail, $"a guest's request failed without a reason: {error}");
        }

        guest.Cancel.Dispose();
    }

    private void EndRead(Reader reader)
    {
        var expected = _frozen.AsSpan(reader.Offset, reader.Target.Length);
        if (!reader.Pending.IsCompletedSuccessfully)
        {
            var error = reader.Pending.Exception?.InnerException as BlockException;
            var excused = error?.Kind switch
            {
                BlockErrorKind.SnapshotBroken => MayFail && _filter.SnapshotError is not null,
                BlockErrorKind.Invalid => _notKept,
                BlockErrorKind.Io => _world.AnyFailed,
                _ => false,
            };
            Require(excused, $"a read of the view failed without a reason: {reader.Pending.Exception}");
            return;
        }

        if (reader.Extents is { } extents)
        {
            Require(
                extents.Length == reader.Target.Length && extents[0].Offset == reader.Offset,
                "a block status does not cover what was asked for");
            foreach (var extent in extents)
            {
                var bytes = _frozen.AsSpan((int)extent.Offset, (int)extent.Length);
                Require(
                    !extent.IsZero || !bytes.ContainsAnyExcept((byte)0),
                    $"{extent} is called zero, and was not at t0");
            }

            return;
        }

        var at = reader.Target.AsSpan().CommonPrefixLength(expected);
        Require(
            at == expected.Length,
            $"a read of {expected.Length} bytes at {reader.Offset} of the view "
            + $"differs from t0 at {reader.Offset + at}");
    }

    private void CheckDisk()
    {
        var at = _disk.Content.AsSpan().CommonPrefixLength(_guest);
        Require(at == _guest.Length, $"the disk differs from what the guest wrote at {at}");
    }

    private byte[] Fill(int length)
    {
        var content = new byte[length];
        _random.NextBytes(content);
        for (var offset = 0; offset < length; offset += SteppedNode.ClusterSize)
        {
            // Clusters of data, of zeroes, and such that begin or end with zeroes.
            var size = Math.Min(SteppedNode.ClusterSize, length - offset);
            switch (_random.Next(8))
            {
                case 0 or 1:
                    content.AsSpan(offset, size).Clear();
                    break;
                case 2:
                    content.AsSpan(offset, size / 2).Clear();
                    break;
                case 3:
                    content.AsSpan(offset + (size / 2), size - (size / 2)).Clear();
                    break;
                default:
                    break;
            }
        }

        return content;
    }

    private DirtyBitmap MakeAccess(int length)
    {
        var access = new DirtyBitmap("access", length, SteppedNode.ClusterSize * (1 + _random.Next(2)));
        for (var count = 1 + _random.Next(3); count > 0; count--)
        {
            access.Set(_random.Next(length), 1);
        }

        return access;
    }

    private static void Require(bool condition, string what)
    {
        if (!condition)
        {
            throw new InvalidOperationException(what);
        }
    }

    private sealed record Guest(Task Pending, int Offset, byte[] Data, CancellationTokenSource Cancel);

    private sealed record Reader(Task Pending, int Offset, byte[] Target, ExtentList? Extents);
}
