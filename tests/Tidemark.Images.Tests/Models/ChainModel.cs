using Tidemark.Blocks.Nodes;
using Tidemark.Images.Creating;
using Tidemark.Images.Opening;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Images.Tests.Models;

/// <summary>A random chain of images in a directory, and the bytes that each of them reads as.</summary>
internal sealed class ChainModel(Random random, TemporaryDirectory directory)
{
    private static readonly int[] s_clusterSizes = [512, 4096, 65536];

    /// <summary>The images, the bottom first, and what they read as.</summary>
    public List<(string Name, string Format, byte[] Content)> Images { get; } = [];

    public string Top => directory.File(Images[^1].Name);

    public byte[] Content => Images[^1].Content;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Adds images over those that there are, with random content.</summary>
    public async Task GrowAsync(int count, string prefix = "image")
    {
        for (var index = 0; index < count; index++)
        {
            var below = Images.Count == 0 ? default : Images[^1];
            var format = Images.Count == 0 && random.Next(2) == 0 ? "raw" : "qcow2";
            var name = $"{prefix}{Images.Count}";
            var length = random.Next(1, 1200) * 512;
            var options = new CreateOptions
            {
                Format = format,
                Length = length,
                ClusterSize = s_clusterSizes[random.Next(s_clusterSizes.Length)],
                BackingFile = below.Name,
                BackingFormat = below.Format,
            };
            await ImageCreate.CreateAsync(directory.File(name), options, Token);
            var content = new byte[length];
            (below.Content ?? []).AsSpan(0, Math.Min(length, below.Content?.Length ?? 0)).CopyTo(content);
            Images.Add((name, format, content));
            await ScribbleAsync(random.Next(12));
        }
    }

    /// <summary>Writes at random into the top image.</summary>
    public async Task ScribbleAsync(int writes)
    {
        var (name, format, content) = Images[^1];
        await using var image = await ImageOpener.OpenAsync(
            directory.File(name), new ImageOpenOptions { Format = format, Writable = true }, Token);
        for (var index = 0; index < writes; index++)
        {
            var offset = random.Next(content.Length);
            var length = 1 + random.Next(Math.Min(content.Length - offset, random.Next(2) == 0 ? 3000 : 200_000));
            var kind = random.Next(4);
            if (kind == 0)
            {
                await image.Top.WriteZeroesAsync(offset, length, WriteFlags.MayUnmap, Token);
                content.AsSpan(offset, length).Clear();
                continue;
            }

            var bytes = new byte[length];
            if (kind > 1)
            {
                Array.Fill(bytes, (byte)random.Next(1, 256));
            }

            await image.Top.WriteAsync(offset, bytes, WriteFlags.None, Token);
            bytes.CopyTo(content.AsSpan(offset));
        }
    }

    /// <summary>Fails unless an image reads as these bytes, and zeroes behind them.</summary>
    public static async Task AssertReadsAsync(string path, string? format, byte[] expected, long? length = null)
    {
        await using var image = await ImageOpener.OpenAsync(path, new ImageOpenOptions { Format = format }, Token);
        Assert.Equal(length ?? expected.Length, image.Top.Length);
        var actual = new byte[image.Top.Length];
        for (var offset = 0; offset < actual.Length; offset += 1 << 20)
        {
            var part = actual.AsMemory(offset, Math.Min(1 << 20, actual.Length - offset));
            await image.Top.ReadAsync(offset, part, Token);
        }

        var same = actual.AsSpan(0, expected.Length).CommonPrefixLength(expected);
        Assert.True(same == expected.Length, $"{path} differs at {same}");
        Assert.False(actual.AsSpan(expected.Length).ContainsAnyExcept((byte)0));
    }
}
