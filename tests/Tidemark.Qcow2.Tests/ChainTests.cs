using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>Backing chains: contents through overlays of other sizes, names, loops.</summary>
public sealed class ChainTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new(inMemory: true);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task AnOverlayLongerThanItsBackingReadsZeroesBeyondIt()
    {
        await CreateAsync("base.qcow2", 100_000, null, null);
        await WriteAsync("base.qcow2", 0, 100_000, 7);
        await CreateAsync("top.qcow2", 300_000, "base.qcow2", "qcow2");
        await using var chain = await Qcow2Chain.OpenAsync(
            _directory.File("top.qcow2"), new Qcow2ChainOptions { FollowNames = true },
            Token);
        await chain.Top.WriteAsync(99_990, Enumerable.Repeat((byte)9, 20).ToArray(), cancellationToken: Token);
        var all = new byte[300_000];
        await chain.Top.ReadAsync(0, all, Token);
        var expected = new byte[300_000];
        expected.AsSpan(0, 100_000).Fill(7);
        expected.AsSpan(99_990, 20).Fill(9);
        Assert.Equal(expected, all);
        ExtentList extents = new();
        await chain.Top.GetBlockStatusAsync(0, 300_000, extents, Token);
        Assert.Equal(
            [new Extent(0, 131_072, ExtentFlags.None), new Extent(131_072, 168_928,
                ExtentFlags.Hole | ExtentFlags.Zero)], extents);
        extents.Clear();
        await ((Qcow2Node)chain.Top).GetOwnStatusAsync(0, 300_000, extents, Token);
        Assert.Equal(
            [new Extent(0, 65_536, ExtentFlags.Hole), new Extent(65_536, 65_536, ExtentFlags.None),
                new Extent(131_072, 168_928, ExtentFlags.Hole)],
            extents);
    }

    [Fact]
    public async Task ZeroesAndDiscardsHideTheBacking()
    {
        await CreateAsync("base.qcow2", 300_000, null, null);
        await WriteAsync("base.qcow2", 0, 300_000, 7);
        await CreateAsync("top.qcow2", 200_000, "base.qcow2", "qcow2");
        await using (var chain = await Qcow2Chain.OpenAsync(
            _directory.File("top.qcow2"), new Qcow2ChainOptions { FollowNames = true },
            Token))
        {
            await chain.Top.WriteZeroesAsync(0, 70_000, WriteFlags.MayUnmap, Token);
            await chain.Top.DiscardAsync(131_072, 68_928, Token);
            await chain.Top.WriteAsync(10, new byte[] { 1 }, cancellationToken: Token);
        }

        await using var again = await Qcow2Chain.OpenAsync(
            _directory.File("top.qcow2"), new Qcow2ChainOptions { ReadOnly = true, FollowNames = true }, Token);
        var all = new byte[200_000];
        await again.Top.ReadAsync(0, all, Token);
        var expected = new byte[200_000];
        expected.AsSpan(70_000, 131_072 - 70_000).Fill(7);
        expected[10] = 1;
        Assert.Equal(expected, all);
    }

    [Fact]
    public async Task ADeepChainOpensAndALoopIsNamed()
    {
        const int Images = Qcow2Limits.MaximumChainDepth;
        await CreateAsync("0.qcow2", 100_000, null, null);
        await WriteAsync("0.qcow2", 0, 1000, 1);
        for (var depth = 1; depth <= Images; depth++)
        {
            await CreateAsync($"{depth}.qcow2", 100_000, $"{depth - 1}.qcow2", "qcow2");
        }

        await using (var chain = await Qcow2Chain.OpenAsync(
            _directory.File($"{Images - 1}.qcow2"), new Qcow2ChainOptions { FollowNames = true },
            Token))
        {
            var top = chain.Top;
            OnASmallStack(() =>
            {
                // The files answer on this thread: each request goes down on its stack, which does not suffice.
                var byteRead = new byte[1];
                Run(top.ReadAsync(999, byteRead, Token));
                Assert.Equal(1, byteRead[0]);
                ExtentList extents = new();
                Run(top.GetBlockStatusAsync(0, top.Length, extents, Token));
                Assert.False(extents[0].IsZero);
                DepthList depths = new();
                Run(top.GetAllocationDepthAsync(0, top.Length, depths, Token));
                Assert.Equal(Images, depths[0].Depth);
                Run(top.WriteAsync(1000, new byte[] { 2 }, cancellationToken: Token));
                Run(top.ReadAsync(999, byteRead, Token));
                Assert.Equal(1, byteRead[0]);
            });
        }

        var tooDeep = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Chain.OpenAsync(_directory.File($"{Images}.qcow2"),
                new Qcow2ChainOptions { ReadOnly = true, FollowNames = true }, Token));
        Assert.Contains("deeper", tooDeep.Message, StringComparison.Ordinal);

        await CreateAsync("a.qcow2", 1000, "b.qcow2", "qcow2");
        await CreateAsync("b.qcow2", 1000, "a.qcow2", "qcow2");
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Chain.OpenAsync(_directory.File("a.qcow2"),
                new Qcow2ChainOptions { ReadOnly = true, FollowNames = true }, Token));
        Assert.Contains("loop", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABackingFormatThatNobodyKnowsIsRefused()
    {
        await CreateAsync("base.qcow2", 1000, null, null);
        await CreateAsync("top.qcow2", 1000, "base.qcow2", "bochs");
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Chain.OpenAsync(_directory.File("top.qcow2"),
                new Qcow2ChainOptions { ReadOnly = true, FollowNames = true }, Token));
        Assert.Contains("bochs", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WithoutItsBackingAnImageIsRefused()
    {
        await CreateAsync("top.qcow2", 1000, "base.raw", "raw");
        await using var file = RawFileNode.Open("file", _directory.File("top.qcow2"), readOnly: true);
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { ReadOnly = true }, Token));
        Assert.Contains("base.raw", exception.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<Qcow2Exception>(async () => await Qcow2Chain.OpenAsync(
            _directory.File("top.qcow2"), new Qcow2ChainOptions { ReadOnly = true }, Token));
    }

    [Theory]
    [InlineData("/images/top.qcow2", "base.qcow2", "/images/base.qcow2")]
    [InlineData("/images/top.qcow2", "../base.qcow2", "/images/../base.qcow2")]
    [InlineData("/images/top.qcow2", "/other/base.qcow2", "/other/base.qcow2")]
    [InlineData("top.qcow2", "base.qcow2", "base.qcow2")]
    [InlineData("/images/top.qcow2", "file:base.qcow2", "base.qcow2")]
    [InlineData("/images/top.qcow2", "./a:b", "/images/./a:b")]
    public void NamesAreRelativeToTheImage(string image, string name, string expected) =>
        Assert.Equal(expected, Qcow2Chain.ResolveBackingFile(image, name));

    [Theory]
    [InlineData("json:{\"driver\":\"file\"}")]
    [InlineData("nbd://host/x")]
    public void OtherProtocolsAreRefusedByName(string name) =>
        Assert.Contains(
            name[..name.IndexOf(':', StringComparison.Ordinal)],
            Assert.Throws<Qcow2Exception>(() => Qcow2Chain.ResolveBackingFile("/a", name)).Message,
            StringComparison.Ordinal);

    private static void Run(ValueTask task) => task.AsTask().GetAwaiter().GetResult();

    private static void OnASmallStack(Action action)
    {
        Exception? failure = null;
        Thread thread = new(() => failure = Record.Exception(action), 1 << 20);
        thread.Start();
        thread.Join();
        Assert.Null(failure);
    }

    private async Task CreateAsync(string name, long length, string? backing, string? format)
    {
        await using var file = RawFileNode.Create("file", _directory.File(name), 0);
        await Qcow2Image.CreateAsync(
            file, new Qcow2CreateOptions { Length = length, BackingFile = backing, BackingFormat = format }, Token);
    }

    private async Task WriteAsync(string name, long offset, int length, byte value)
    {
        await using var chain = await Qcow2Chain.OpenAsync(
            _directory.File(name), new Qcow2ChainOptions { FollowNames = true }, Token);
        await chain.Top.WriteAsync(offset, Enumerable.Repeat(value, length).ToArray(), cancellationToken: Token);
    }
}
