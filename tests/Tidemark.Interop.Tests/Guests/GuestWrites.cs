using System.Buffers.Binary;

namespace Tidemark.Interop.Tests.Guests;

/// <summary>
/// The numbered writes of one guest over all its disks: what each write number wrote, and where.
/// </summary>
/// <remarks>
/// <para>A guest issues write n+1 only after write n was completed, whatever disk it went to. So at any instant what
/// the disks hold together is the effect of the writes 1..K for one K, and nothing else: that is what a restored point
/// is compared with. A slot is 4 KiB; its content tells which write made it.</para>
/// <para>Two kinds of content: <c>stamped</c> (the number and a pattern that follows from it) and <c>byte</c> (one byte
/// repeated, for guests that can only write a pattern; at most 250 writes then).</para>
/// </remarks>
internal sealed class GuestWrites(int diskCount, bool stamped)
{
    public const int SlotLength = 4096;

    private const int MaximumByteWrites = 250;

    private readonly Lock _gate = new();

    // Guarded by _gate. Entry n - 1 is write n.
    private readonly List<(int Disk, long Slot)> _writes = [];
    private int _completed;

    public int DiskCount => diskCount;

    /// <summary>How many writes were completed: a point begun now holds at least these.</summary>
    public int Completed
    {
        get
        {
            lock (_gate)
            {
                return _completed;
            }
        }
    }

    /// <summary>How many writes were begun: a point that has ended holds at most these.</summary>
    public int Begun
    {
        get
        {
            lock (_gate)
            {
                return _writes.Count;
            }
        }
    }

    /// <summary>Notes a write that is about to be issued; returns its number.</summary>
    public int Begin(int disk, long slot)
    {
        lock (_gate)
        {
            if (!stamped && _writes.Count >= MaximumByteWrites)
            {
                throw new InvalidOperationException("too many writes to be told apart by one byte");
            }

            _writes.Add((disk, slot));
            return _writes.Count;
        }
    }

    public void Complete(int number)
    {
        lock (_gate)
        {
            _completed = number;
        }
    }

    /// <summary>What write <paramref name="number"/> puts into its slot.</summary>
    public byte[] Content(int number)
    {
        var content = new byte[SlotLength];
        if (!stamped)
        {
            Array.Fill(content, (byte)number);
            return content;
        }

        new Random(number).NextBytes(content);
        BinaryPrimitives.WriteInt32LittleEndian(content, number);
        return content;
    }

    /// <summary>
    /// Checks that restored disks are one instant of all of them, between the two numbers; returns a K that fits.
    /// </summary>
    /// <param name="restored">The restored disks.</param>
    /// <param name="initial">The disks before write 1.</param>
    /// <param name="atLeast">The writes completed before the point was begun.</param>
    /// <param name="atMost">The writes begun before it had ended.</param>
    /// <exception cref="InvalidDataException">They are not: which slot of which disk says so.</exception>
    public int CheckInstant(byte[][] restored, byte[][] initial, int atLeast, int atMost)
    {
        (int Disk, long Slot)[] writes;
        lock (_gate)
        {
            writes = [.. _writes];
        }

        // Each slot narrows K: its content was made by write w and is not yet overwritten by the next one there.
        var (low, high) = (atLeast, atMost);
        var (lowBy, highBy) = ("the writes completed before", "the writes begun until the end");
        var numbersOf = Enumerable.Range(1, writes.Length).ToLookup(number => writes[number - 1]);
        for (var disk = 0; disk < diskCount; disk++)
        {
            if (restored[disk].Length != initial[disk].Length)
            {
                throw new InvalidDataException(
                    $"disk {disk} has {restored[disk].Length} bytes, not {initial[disk].Length}");
            }

            for (long slot = 0; slot < initial[disk].Length / SlotLength; slot++)
            {
                var range = new Range((int)slot * SlotLength, (int)(slot + 1) * SlotLength);
                var numbers = numbersOf[(disk, slot)].ToArray();
                var made = MadeBy(restored[disk].AsSpan(range), initial[disk].AsSpan(range), numbers);
                if (made < 0)
                {
                    throw new InvalidDataException(
                        $"disk {disk}, offset {slot * SlotLength}: no write of the guest made what is there,"
                        + $" {Convert.ToHexString(restored[disk].AsSpan(range)[..16])}…;"
                        + $" the writes there: {string.Join(' ', numbers)}");
                }

                var next = numbers.FirstOrDefault(number => number > made, int.MaxValue);
                if (made > low)
                {
                    (low, lowBy) = (made, $"disk {disk}, offset {slot * SlotLength}");
                }

                if (next - 1 < high)
                {
                    (high, highBy) = (next - 1, $"disk {disk}, offset {slot * SlotLength}");
                }
            }
        }

        return low <= high
            ? low
            : throw new InvalidDataException(
                $"no instant: write {low} is in it ({lowBy}), write {high + 1} is not ({highBy})");
    }

    private int MadeBy(ReadOnlySpan<byte> content, ReadOnlySpan<byte> before, int[] numbers)
    {
        if (content.SequenceEqual(before))
        {
            return 0;
        }

        var number = stamped ? BinaryPrimitives.ReadInt32LittleEndian(content) : content[0];
        return numbers.Contains(number) && content.SequenceEqual(Content(number)) ? number : -1;
    }
}
