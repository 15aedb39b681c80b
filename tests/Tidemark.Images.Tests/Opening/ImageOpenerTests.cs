using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Formats;
using Tidemark.Images.Opening;
using Tidemark.Qcow2;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Images.Tests.Opening;

public sealed class ImageOpenerTests : IDisposable
{
    private const int Length = 1 << 20;

    private readonly TemporaryDirectory _directory = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task A_chain_is_followed_by_relative_names()
    {
        Directory.CreateDirectory(_directory.File("low"));
        await CreateAsync("low/base.qcow2");
        await WriteAsync("low/base.qcow2", 0, 0x11);
        await CreateAsync("low/middle.qcow2", "base.qcow2");
        await WriteAsync("low/middle.qcow2", 65536, 0x22);
        await CreateAsync("top.qcow2", "low/middle.qcow2");
        await using var image = await ImageOpener.OpenAsync(_directory.File("top.qcow2"), null, Token);
        Assert.Equal(3, image.Layers.Count);
        Assert.Equal(_directory.File("low/base.qcow2"), image.Layers[2].FileName);
        Assert.Equal(0x11, await ByteAsync(image, 0));
        Assert.Equal(0x22, await ByteAsync(image, 65536));
        Assert.Equal(0, await ByteAsync(image, 131072));
    }

    [Fact]
    public async Task A_json_name_describes_an_image_in_both_forms()
    {
        await CreateAsync("a.qcow2");
        await WriteAsync("a.qcow2", 0, 0x33);
        var path = _directory.File("a.qcow2");
        string[] names =
        [
            $"json:{{\"driver\":\"qcow2\",\"file\":{{\"driver\":\"file\",\"filename\":\"{path}\"}}}}",
            $"json:{{\"driver\":\"qcow2\",\"file.driver\":\"file\",\"file.filename\":\"{path}\",\"backing\":null}}",
            $"json:{{\"file.filename\":\"{path}\"}}",
        ];
        foreach (var name in names)
        {
            await using var image = await ImageOpener.OpenAsync(name, null, Token);
            Assert.Equal("qcow2", image.TopLayer.Format);
            Assert.Equal(path, image.TopLayer.FileName);
            Assert.Equal(0x33, await ByteAsync(image, 0));
        }
    }

    [Fact]
    public async Task A_json_name_takes_a_part_of_a_raw_file()
    {
        var bytes = new byte[8192];
        bytes[4096] = 0x44;
        await File.WriteAllBytesAsync(_directory.File("a.raw"), bytes, Token);
        var name = $"json:{{\"driver\":\"raw\",\"offset\":4096,\"size\":\"512\",\"file.filename\":"
            + $"\"{_directory.File("a.raw")}\"}}";
        await using var image = await ImageOpener.OpenAsync(name, null, Token);
        Assert.Equal(512, image.Top.Length);
        Assert.Equal(0x44, await ByteAsync(image, 0));
    }

    [Theory]
    [InlineData("json:{\"driver\":\"qcow2\",\"file.filename\":\"PATH\",\"discard\":\"unmap\"}", "discard")]
    [InlineData("json:{\"driver\":\"qcow2\",\"file\":\"node0\"}", "node0")]
    [InlineData("json:{\"driver\":\"vmdk\",\"file.filename\":\"PATH\"}", "vmdk")]
    [InlineData("json:{\"driver\":\"qcow2\",\"file.driver\":\"ssh\",\"file.filename\":\"PATH\"}", "ssh")]
    [InlineData("json:[]", "not a JSON object")]
    [InlineData("json:{", "not JSON")]
    [InlineData("ssh:PATH", "Unknown protocol 'ssh'")]
    public async Task What_is_not_supported_is_refused_by_name(string name, string expected)
    {
        await CreateAsync("a.qcow2");
        var error = await Assert.ThrowsAnyAsync<BlockException>(async () => await ImageOpener.OpenAsync(
            name.Replace("PATH", _directory.File("a.qcow2"), StringComparison.Ordinal), null, Token));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Names_are_not_followed_where_the_caller_says_so()
    {
        await CreateAsync("base.qcow2");
        await CreateAsync("top.qcow2", "base.qcow2");
        var error = await Assert.ThrowsAsync<ImageException>(async () => await ImageOpener.OpenAsync(
            _directory.File("top.qcow2"), new ImageOpenOptions { FollowNames = false }, Token));
        Assert.Contains("base.qcow2", error.Message, StringComparison.Ordinal);
        await using var alone = await ImageOpener.OpenAsync(_directory.File("base.qcow2"),
            new ImageOpenOptions { FollowNames = false }, Token);
        Assert.Single(alone.Layers);
    }

    [Fact]
    public async Task A_loop_ends()
    {
        await CreateAsync("a.qcow2", "b.qcow2");
        await CreateAsync("b.qcow2", "a.qcow2");
        var error = await Assert.ThrowsAsync<ImageException>(async () => await ImageOpener.OpenAsync(
            _directory.File("a.qcow2"), null, Token));
        Assert.Contains("loop", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_foreign_format_is_not_taken_for_raw()
    {
        var bytes = new byte[4096];
        "KDMV"u8.CopyTo(bytes);
        var path = _directory.File("a.vmdk");
        await File.WriteAllBytesAsync(path, bytes, Token);
        var error = await Assert.ThrowsAsync<ImageException>(async () =>
            await ImageOpener.OpenAsync(path, null, Token));
        Assert.Contains("vmdk", error.Message, StringComparison.Ordinal);
        await using var image = await ImageOpener.OpenAsync(path, new ImageOpenOptions { Format = "raw" }, Token);
        Assert.Equal((byte)'K', await ByteAsync(image, 0));
    }

    [Theory]
    [InlineData(0, new byte[] { (byte)'Q', (byte)'F', (byte)'I', 0xfb })]
    [InlineData(3, new byte[] { 0xfb, 0, 0, 0, 3 })]
    [InlineData(64, new byte[] { 0x7f, 0x10, 0xda, 0xbe })]
    public async Task A_guess_of_raw_cannot_be_made_another_format(int offset, byte[] magic)
    {
        var bytes = new byte[4096];
        "QFI"u8.CopyTo(bytes);
        var path = _directory.File("a.raw");
        await File.WriteAllBytesAsync(path, bytes, Token);
        await using (var image = await ImageOpener.OpenAsync(path, new ImageOpenOptions { Writable = true }, Token))
        {
            Assert.True(image.TopLayer.WasProbed);
            var error = await Assert.ThrowsAsync<ImageException>(async () =>
                await image.Top.WriteAsync(offset, magic, WriteFlags.None, Token));
            Assert.Equal(BlockErrorKind.ReadOnly, error.Kind);
            await image.Top.WriteAsync(8, new byte[] { 1, 2, 3 }, WriteFlags.None, Token);
            await image.Top.WriteAsync(1024, magic, WriteFlags.None, Token);
        }

        await using var said = await ImageOpener.OpenAsync(
            path, new ImageOpenOptions { Writable = true, Format = "raw" }, Token);
        await said.Top.WriteAsync(offset, magic, WriteFlags.None, Token);
        Assert.Equal(magic[0], await ByteAsync(said, offset));
    }

    [Fact]
    public async Task Zeroes_cannot_make_a_guess_of_raw_another_format_either()
    {
        var bytes = new byte[4096];
        "QEDx"u8.CopyTo(bytes);
        var path = _directory.File("a.raw");
        await File.WriteAllBytesAsync(path, bytes, Token);
        await using var image = await ImageOpener.OpenAsync(path, new ImageOpenOptions { Writable = true }, Token);
        Assert.True(image.TopLayer.WasProbed);
        var error = await Assert.ThrowsAsync<ImageException>(async () =>
            await image.Top.WriteZeroesAsync(3, 1, WriteFlags.None, Token));
        Assert.Equal(BlockErrorKind.ReadOnly, error.Kind);
        await Assert.ThrowsAsync<ImageException>(async () => await image.Top.DiscardAsync(3, 1, Token));
        Assert.Equal((byte)'x', await ByteAsync(image, 3));
        await image.Top.WriteZeroesAsync(0, 4096, WriteFlags.None, Token);
        Assert.Equal(0, await ByteAsync(image, 3));
    }

    [Fact]
    public async Task Two_halves_of_a_magic_number_cannot_be_written_at_the_same_time()
    {
        await using var file = new HeldWrites(new MemoryNode("file", new byte[4096]));
        await using var raw = new ProbedRawNode("raw", file);
        var hold = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        file.Hold = hold.Task;
        var first = raw.WriteAsync(0, "QF"u8.ToArray(), WriteFlags.None, Token).AsTask();
        Assert.False(first.IsCompleted);

        // The first one is past its look at what is there. The second one must not look before it has written.
        file.Hold = null;
        var second = raw.WriteAsync(2, new byte[] { (byte)'I', 0xfb }, WriteFlags.None, Token).AsTask();
        var elsewhere = raw.WriteAsync(1024, new byte[] { 1 }, WriteFlags.None, Token).AsTask();
        await elsewhere;
        hold.SetResult();
        await first;
        var error = await Assert.ThrowsAsync<ImageException>(() => second);
        Assert.Equal(BlockErrorKind.ReadOnly, error.Kind);
    }

    [Theory]
    [InlineData("QFI\u00fb", "qcow2")]
    [InlineData("nothing", "raw")]
    public async Task A_file_of_large_blocks_is_looked_at_too(string start, string expected)
    {
        var bytes = new byte[8192];
        System.Text.Encoding.Latin1.GetBytes(start, bytes);
        await using var file = new LargeBlocks(new MemoryNode("file", bytes));
        Assert.Equal(expected, await ImageFormat.ProbeAsync(file, Token));
    }

    private sealed class HeldWrites(BlockNode file) : FilterNode("held", file)
    {
        public Task? Hold { get; set; }

        public override string Driver => "held";

        protected override async ValueTask WriteCoreAsync(
            long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
        {
            await (Hold ?? Task.CompletedTask);
            await base.WriteCoreAsync(offset, source, flags, cancellationToken);
        }
    }

    private sealed class LargeBlocks(BlockNode file) : FilterNode("large", file)
    {
        public override string Driver => "large";

        public override BlockLimits Limits => base.Limits with { RequestAlignment = 4096 };
    }

    [Fact]
    public async Task A_locked_image_is_opened_only_with_force_share()
    {
        await CreateAsync("a.qcow2");
        var path = _directory.File("a.qcow2");
        await using var writer = await ImageOpener.OpenAsync(path, new ImageOpenOptions { Writable = true }, Token);
        var error = await Assert.ThrowsAnyAsync<BlockException>(async () =>
            await ImageOpener.OpenAsync(path, null, Token));
        Assert.Equal(BlockErrorKind.Locked, error.Kind);
        await using var reader = await ImageOpener.OpenAsync(path, new ImageOpenOptions { ForceShare = true }, Token);
        Assert.Equal(Length, reader.Top.Length);
    }

    private async Task CreateAsync(string name, string? backing = null)
    {
        await using var file = RawFileNode.Create("new", _directory.File(name), 0);
        await Qcow2Image.CreateAsync(
            file,
            new Qcow2CreateOptions
            {
                Length = Length,
                BackingFile = backing,
                BackingFormat = backing is null ? null : "qcow2",
            },
            Token);
    }

    private async Task WriteAsync(string name, long offset, byte value)
    {
        await using var image = await ImageOpener.OpenAsync(
            _directory.File(name), new ImageOpenOptions { Writable = true }, Token);
        await image.Top.WriteAsync(offset, new[] { value }, WriteFlags.None, Token);
    }

    private static async Task<byte> ByteAsync(OpenImage image, long offset)
    {
        var one = new byte[1];
        await image.Top.ReadAsync(offset, one, Token);
        return one[0];
    }
}
