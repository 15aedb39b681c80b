using System.Buffers.Binary;
using System.Text;

namespace Tidemark.Cli.Demo;

/// <summary>Makes the bytes of a write from its seed, so that they can be made again when the disk is judged.</summary>
internal static class Content
{
    private const int RepeatedCount = 6;

    private static readonly byte[][] s_words =
    [
        .. "accepted address backup block bytes cache client closed config connection created device disk done error "
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Concat("file from guest handle index info inode kernel length level listen mount network node open page "
                .Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Concat("process queue read request reset retry session socket started status stopped sync system timeout "
                .Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Select(word => Encoding.ASCII.GetBytes(word + " ")),
    ];

    /// <summary>Fills a buffer: the same kind and seed give the same bytes.</summary>
    public static void Fill(Span<byte> target, ContentKind kind, ulong seed)
    {
        switch (kind)
        {
            case ContentKind.Zeroes:
                target.Clear();
                break;
            case ContentKind.Text:
                FillText(target, new SplitMix(seed));
                break;
            case ContentKind.Repeated:
                FillRandom(target, new SplitMix(seed % RepeatedCount));
                break;
            default:
                FillRandom(target, new SplitMix(seed));
                break;
        }
    }

    private static void FillRandom(Span<byte> target, SplitMix random)
    {
        while (target.Length >= sizeof(ulong))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(target, random.Next());
            target = target[sizeof(ulong)..];
        }

        for (var index = 0; index < target.Length; index++)
        {
            target[index] = (byte)random.Next();
        }
    }

    private static void FillText(Span<byte> target, SplitMix random)
    {
        var column = 0;
        while (!target.IsEmpty)
        {
            var word = s_words[random.Next((uint)s_words.Length)];
            var count = Math.Min(word.Length, target.Length);
            word.AsSpan(0, count).CopyTo(target);
            target = target[count..];
            column += count;
            if (column > 72 && !target.IsEmpty)
            {
                target[0] = (byte)'\n';
                target = target[1..];
                column = 0;
            }
        }
    }
}
