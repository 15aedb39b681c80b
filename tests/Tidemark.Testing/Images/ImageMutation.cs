namespace Tidemark.Testing.Images;

/// <summary>
/// Damages an image where it hurts: a field of a known meaning gets a value that is wrong in an interesting way. What
/// is interesting: zero, one, all ones, one more and one less, sign bits, the place of another field's table, places at
/// and past the end of the file, places that are not aligned, flags that must not be there.
/// </summary>
public static class ImageMutation
{
    private static readonly ulong[] s_edges =
    [
        0, 1, 2, 3, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0x1ff, 0x200, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fff_ffff,
        0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x00ff_ffff_ffff_fe00, 0x0100_0000_0000_0000, 0x7fff_ffff_ffff_ffff,
        0x7fff_ffff_ffff_0000, 0x8000_0000_0000_0000, 0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff_fe00,
    ];

    /// <summary>Damages one thing.</summary>
    /// <param name="bytes">The file as it lies in memory.</param>
    /// <param name="sketch">Where its fields are.</param>
    /// <param name="random">Decides.</param>
    /// <param name="log">Takes what was done, for the message, if that is wanted.</param>
    public static void Apply(Span<byte> bytes, ImageSketch sketch, Random random, List<string>? log)
    {
        var fields = sketch.Fields;
        switch (random.Next(16))
        {
            case 0:
                var at = random.Next(bytes.Length);
                bytes[at] = (byte)random.Next(256);
                log?.Add($"byte {at} = {bytes[at]}");
                break;
            case 1:
                Swap(bytes, fields, random, log);
                break;
            default:
                // The last fields laid are the header's: half of all damage goes there.
                var field = random.Next(2) == 0
                    ? fields[fields.Count - 1 - random.Next(Math.Min(fields.Count, 50))]
                    : fields[random.Next(fields.Count)];
                Damage(bytes, field, sketch, random, log);
                break;
        }
    }

    private static void Swap(
        Span<byte> bytes, IReadOnlyList<ImageField> fields, Random random, List<string>? log)
    {
        var (from, to) = (fields[random.Next(fields.Count)], fields[random.Next(fields.Count)]);
        var length = Math.Min(from.Size, to.Size);
        bytes.Slice(from.Offset, length).CopyTo(bytes[to.Offset..]);
        log?.Add($"{to.Name} = {from.Name}");
    }

    private static void Damage(
        Span<byte> bytes, ImageField field, ImageSketch sketch, Random random, List<string>? log)
    {
        var target = bytes.Slice(field.Offset, field.Size);
        if (field.Kind == ImageFieldKind.Bytes)
        {
            target[random.Next(target.Length)] = (byte)random.Next(256);
            if (random.Next(4) == 0)
            {
                random.NextBytes(target);
            }

            log?.Add($"{field.Name}: bytes");
            return;
        }

        var value = Pick(ImageSketch.Read(target), field, bytes.Length, sketch, random);
        ImageSketch.Write(target, value);
        log?.Add($"{field.Name} = 0x{value:x}");
    }

    private static ulong Pick(ulong old, ImageField field, int fileLength, ImageSketch sketch, Random random)
    {
        var size = (ulong)sketch.ClusterSize;
        switch (random.Next(8))
        {
            case 0:
                return old + 1;
            case 1:
                return old - 1;
            case 2:
                return old ^ (1UL << random.Next(field.Size * 8));
            case 3:
                return s_edges[random.Next(s_edges.Length)];
            case 4 when field.Kind is ImageFieldKind.Offset or ImageFieldKind.Entry:
                // Onto another cluster of the image: data, a table, the header.
                var flags = random.Next(3) == 0 ? 0 : old & 0xc000_0000_0000_0000;
                return ((ulong)random.Next((fileLength / (int)size) + 2) * size) | flags;
            case 5 when field.Kind is ImageFieldKind.Offset or ImageFieldKind.Entry:
                // Just inside, at, or past the end; or not aligned.
                return (old & 0xc000_0000_0000_0000) | (((ulong)fileLength + ((ulong)random.Next(4) * size) - size)
                    + (random.Next(3) == 0 ? (ulong)random.Next((int)size) : 0));
            case 6 when field.Kind is ImageFieldKind.Entry:
                return old | (1UL << 62) | ((ulong)random.Next(256) << 54);
            default:
                return random.Next(2) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(0x10000);
        }
    }
}
