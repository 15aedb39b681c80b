using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

// Whether the leader of a connection serves a read or write itself, or first gives the lead to another thread.
//
// Giving the lead away costs two switches between threads, several times what a request costs whose bytes are in
// memory. Serving it oneself costs nothing, unless the node has to wait for a device: then everybody behind waits too.
// So the question is whether the node waits, and time alone does not answer it: on a busy machine a thread loses the
// processor for milliseconds in the middle of a copy from memory. A thread that waited gave the processor up by itself,
// and the kernel counts that. Asking it costs a system call, so it is asked only when time has raised a suspicion:
//
//   quick      a request took longer than it should → probing
//   probing    the next requests are watched: time, and switches that the thread made by itself. Two that were slow and
//              waited → sharing; eight without → quick
//   sharing    for a tenth of a second every request is served by a thread of its own; then → quick

/// <summary>Watches the requests that a leader serves, and says when to share them out. The leader's alone.</summary>
internal sealed class LeadPolicy(TimeProvider time)
{
    /// <summary>
    /// Longer reads are shared out whenever others wait. A shorter one is read and sent from one buffer that stays in
    /// the processor's cache: measured at 256 KiB, sharing costs two thirds more processor time a request.
    /// </summary>
    private const int LongestReadServed = 256 * 1024;

    private const int Probes = 8;
    private const int EnoughWaits = 2;

    /// <summary>A request whose bytes are in memory takes less than this and what copying takes.</summary>
    private static readonly TimeSpan s_slow = TimeSpan.FromMicroseconds(50);

    /// <summary>No memory is slower than this, in bytes a microsecond.</summary>
    private const int CopyRate = 500;

    private static readonly TimeSpan s_sharing = TimeSpan.FromMilliseconds(100);

    private readonly long _slowTicks = (long)(s_slow.TotalSeconds * time.TimestampFrequency);
    private readonly long _sharingTicks = (long)(s_sharing.TotalSeconds * time.TimestampFrequency);
    private readonly double _ticksPerByte = time.TimestampFrequency / (CopyRate * 1e6);

    private long _started;
    private long _switches;
    private long _shareUntil;
    private int _probes;
    private int _waits;

    // Whether the node has lately waited for a device.
    private bool IsSharing
    {
        get
        {
            if (_shareUntil != 0 && time.GetTimestamp() >= _shareUntil)
            {
                _shareUntil = 0;
            }

            return _shareUntil != 0;
        }
    }

    /// <summary>Whether a read or write should be given away.</summary>
    /// <param name="request">The request. A long write is shared out whenever others wait: the next one's bytes are
    /// received while these are written.</param>
    /// <param name="othersWait">Asked only if it matters: whether further requests have come.</param>
    internal bool ShouldShare(in RequestHeader request, Func<bool> othersWait)
    {
        if (IsSharing)
        {
            return true;
        }

        var longestServed = request.Command == NbdCommand.Read ? LongestReadServed : Transmission.SmallRequest;
        return request.Length > (ulong)longestServed && othersWait();
    }

    /// <summary>The leader begins to serve a request itself.</summary>
    internal void Begin()
    {
        _started = time.GetTimestamp();
        if (_probes > 0)
        {
            _switches = ThreadUsage.VoluntarySwitches();
        }
    }

    /// <summary>It has served so many bytes of a read or write, still leading.</summary>
    internal void End(ulong length)
    {
        var now = time.GetTimestamp();
        var isSlow = now - _started > _slowTicks + (long)(length * _ticksPerByte);
        if (_probes == 0)
        {
            if (isSlow)
            {
                (_probes, _waits) = (Probes, 0);
            }

            return;
        }

        _probes--;
        if (isSlow && ThreadUsage.VoluntarySwitches() > _switches && ++_waits == EnoughWaits)
        {
            _probes = 0;
            _shareUntil = now + _sharingTicks;
        }
    }
}
