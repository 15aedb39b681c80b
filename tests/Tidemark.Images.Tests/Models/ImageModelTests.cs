using Tidemark.Images.Committing;
using Tidemark.Images.Comparing;
using Tidemark.Images.Converting;
using Tidemark.Images.Creating;
using Tidemark.Images.Mapping;
using Tidemark.Images.Opening;
using Tidemark.Images.Rebasing;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Images.Tests.Models;

/// <summary>Random chains, and byte arrays that say what they must read as after each operation.</summary>
public sealed class ImageModelTests
{
    private const int Rounds = 25;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public Task A_conversion_has_the_sources_content() => RunAsync(async (random, directory, chain) =>
    {
        await chain.GrowAsync(random.Next(1, 4));
        var format = random.Next(3) == 0 ? "raw" : "qcow2";
        var compress = format == "qcow2" && random.Next(2) == 0;
        var options = new ConvertOptions
        {
            Target = directory.File("target"),
            Create = new CreateOptions
            {
                Format = format,
                ClusterSize = 512 << random.Next(9),
                CompressionType = random.Next(2) == 0 ? "zlib" : "zstd",
            },
            Compress = compress,
            SparseLength = new[] { 0, 512, 4096, 65536 }[random.Next(4)],
            Workers = random.Next(1, 5),
        };
        await using (var source = await ImageOpener.OpenAsync(chain.Top, FormatOf(chain), Token))
        {
            await ImageConvert.RunAsync([source], options, Token);
        }

        await ChainModel.AssertReadsAsync(options.Target, format, chain.Content);
    });

    [Fact]
    public Task A_conversion_onto_a_backing_file_has_the_sources_content() =>
        RunAsync(async (random, directory, chain) =>
    {
        await chain.GrowAsync(random.Next(2, 4));
        var below = chain.Images[^2];
        var options = new ConvertOptions
        {
            Target = directory.File("target"),
            Create = new CreateOptions
            {
                Format = "qcow2",
                ClusterSize = 512 << random.Next(9),
                BackingFile = below.Name,
                BackingFormat = below.Format,
            },
            Compress = random.Next(2) == 0,
            Workers = random.Next(1, 5),
        };
        await using (var source = await ImageOpener.OpenAsync(chain.Top, FormatOf(chain), Token))
        {
            await ImageConvert.RunAsync([source], options, Token);
        }

        await ChainModel.AssertReadsAsync(options.Target, "qcow2", chain.Content);
    });

    [Fact]
    public Task An_existing_target_is_written_over() => RunAsync(async (random, directory, chain) =>
    {
        await chain.GrowAsync(random.Next(1, 3));
        var target = new ChainModel(random, directory);
        await target.GrowAsync(random.Next(1, 3), "target");
        var options = new ConvertOptions
        {
            Target = target.Top,
            Create = new CreateOptions { Format = target.Images[^1].Format },
            NoCreate = true,
            Compress = target.Images[^1].Format == "qcow2" && random.Next(2) == 0,
            Workers = random.Next(1, 5),
        };
        await using (var source = await ImageOpener.OpenAsync(chain.Top, FormatOf(chain), Token))
        {
            if (target.Content.Length < chain.Content.Length)
            {
                await Assert.ThrowsAsync<ImageException>(() => ImageConvert.RunAsync([source], options, Token));
                return;
            }

            await ImageConvert.RunAsync([source], options, Token);
        }

        chain.Content.CopyTo(target.Content, 0);
        await ChainModel.AssertReadsAsync(target.Top, target.Images[^1].Format, target.Content);
    });

    [Fact]
    public Task A_commit_moves_what_the_overlays_hold() => RunAsync(async (random, directory, chain) =>
    {
        await chain.GrowAsync(random.Next(2, 5));
        var depth = random.Next(1, chain.Images.Count);
        var target = chain.Images[^(depth + 1)];
        var keep = random.Next(2) == 0;
        await ImageCommit.RunAsync(
            chain.Top, new ImageOpenOptions { Format = "qcow2" }, directory.File(target.Name), keep, null, Token);
        var expected = new byte[Math.Max(target.Content.Length, chain.Content.Length)];
        target.Content.CopyTo(expected, 0);
        chain.Content.CopyTo(expected, 0);
        await ChainModel.AssertReadsAsync(directory.File(target.Name), target.Format, expected);
        if (depth == 1)
        {
            await ChainModel.AssertReadsAsync(chain.Top, "qcow2", chain.Content);
        }
    });

    [Fact]
    public Task A_rebase_keeps_the_content() => RunAsync(async (random, directory, chain) =>
    {
        await chain.GrowAsync(random.Next(1, 5));
        if (chain.Images[^1].Format == "raw")
        {
            return;
        }

        var other = new ChainModel(random, directory);
        await other.GrowAsync(random.Next(1, 3), "other");
        var (name, format) = random.Next(3) switch
        {
            0 => ("", null),
            1 when chain.Images.Count > 1 => (chain.Images[0].Name, chain.Images[0].Format),
            _ => (other.Images[^1].Name, other.Images[^1].Format),
        };
        await ImageRebase.RunAsync(
            chain.Top,
            new ImageOpenOptions { Format = "qcow2" },
            new RebaseOptions { BackingFile = name, BackingFormat = format },
            Token);
        await ChainModel.AssertReadsAsync(chain.Top, "qcow2", chain.Content);
        await using var image = await ImageOpener.OpenAsync(chain.Top, null, Token);
        Assert.Equal(name.Length == 0 ? null : name, image.TopLayer.Header!.BackingFile);
    });

    [Fact]
    public Task Comparing_finds_the_first_difference() => RunAsync(async (random, directory, chain) =>
    {
        await chain.GrowAsync(random.Next(1, 3));
        var copy = directory.File("copy");
        var bytes = (byte[])chain.Content.Clone();
        var at = random.Next(bytes.Length);
        var differs = random.Next(3) > 0;
        if (differs)
        {
            bytes[at] ^= 1;
        }

        await File.WriteAllBytesAsync(copy, [.. bytes, .. new byte[random.Next(3) * 512]], Token);
        await using var first = await ImageOpener.OpenAsync(chain.Top, FormatOf(chain), Token);
        await using var second = await ImageOpener.OpenAsync(copy, new ImageOpenOptions { Format = "raw" }, Token);
        var outcome = await ImageCompare.RunAsync(first, second, strict: false, null, Token);
        Assert.Equal(!differs, outcome.IsSame);
        if (differs)
        {
            Assert.Equal((CompareDifference.Content, at / 512 * 512), (outcome.Difference, outcome.Offset));
        }
    });

    [Fact]
    public Task A_map_covers_the_disk_and_never_calls_data_zero() => RunAsync(async (random, _, chain) =>
    {
        await chain.GrowAsync(random.Next(1, 5));
        await using var image = await ImageOpener.OpenAsync(chain.Top, FormatOf(chain), Token);
        List<MapEntry> entries = [];
        await new ImageMap(image).AppendAsync(0, image.Top.Length, entries, Token);
        long end = 0;
        foreach (var entry in entries)
        {
            Assert.Equal(end, entry.Start);
            end = entry.End;
            var content = chain.Content.AsSpan((int)entry.Start, (int)entry.Length);
            Assert.False(entry.Has(MapFlags.Zero) && content.ContainsAnyExcept((byte)0), $"{entry}");
        }

        Assert.Equal(chain.Content.Length, end);
    });

    private static ImageOpenOptions FormatOf(ChainModel chain) => new() { Format = chain.Images[^1].Format };

    private static async Task RunAsync(Func<Random, TemporaryDirectory, ChainModel, Task> body)
    {
        await TestSeed.RunAsync(async random =>
        {
            for (var round = 0; round < Rounds; round++)
            {
                using TemporaryDirectory directory = new(inMemory: true);
                await body(random, directory, new ChainModel(random, directory));
            }
        });
    }
}
