using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Files;
using Tidemark.Images.Mapping;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Images.Tests.Mapping;

/// <summary>What is remembered of a file's holes is what the file says.</summary>
public sealed class FileHolesTests : IDisposable
{
    private const int Block = 64 << 10;
    private const int Blocks = 300;

    private readonly TemporaryDirectory _directory = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task EveryRangeIsWhatTheFileSays() => await TestSeed.RunAsync(async random =>
    {
        var path = Create(random);
        await using var file = RawFileNode.Open("file", path, readOnly: true);
        var holes = await FileHoles.ReadAsync(file, Token);
        Assert.NotNull(holes);
        for (var round = 0; round < 500; round++)
        {
            var offset = random.NextInt64(file.Length);
            var length = random.NextInt64(1, Math.Min(20L * Block, file.Length - offset) + 1);
            ExtentList expected = new(), actual = new();
            await file.GetBlockStatusAsync(offset, length, expected, Token);
            holes.Append(offset, length, actual);
            Assert.Equal(expected, actual);
        }
    });

    [Fact]
    public async Task AFileThatMayChangeIsAskedEachTime()
    {
        var path = Create(new Random(1));
        foreach (var options in new[]
        {
            new RawFileOptions(),
            new RawFileOptions { ReadOnly = true, ForceShare = true },
            new RawFileOptions { ReadOnly = true, Locking = false },
        })
        {
            await using var file = RawFileNode.Open("file", path, options);
            Assert.Null(await FileHoles.ReadAsync(file, Token));
        }
    }

    private string Create(Random random)
    {
        var path = _directory.File("holes.raw");
        using var file = File.Create(path);
        file.SetLength(Blocks * (long)Block);
        var data = new byte[Block];
        random.NextBytes(data);
        for (var index = 0; index < Blocks; index++)
        {
            if (random.Next(3) == 0)
            {
                file.Position = index * (long)Block;
                file.Write(data);
            }
        }

        return path;
    }
}
