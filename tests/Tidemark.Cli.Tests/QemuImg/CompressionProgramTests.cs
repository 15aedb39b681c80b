using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>
/// Compressed images by the program as a process, the ordinary one and the one compiled ahead of time (where it has
/// been published): the direct calls into zlib and the zstd library must work in both. qemu-img reads what they
/// write, and they read what it writes.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class CompressionProgramTests : IDisposable
{
    private readonly QemuImgScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Theory]
    [InlineData("zlib", false)]
    [InlineData("zstd", false)]
    [InlineData("zlib", true)]
    [InlineData("zstd", true)]
    public async Task Compressed_images_go_both_ways(string type, bool native)
    {
        var program = native ? BuiltProgram.Native : BuiltProgram.Path;
        Assert.SkipWhen(!File.Exists(program), "not published: the native program (./publish)");
        await _scene.CreateChainAsync();
        var options = $"compression_type={type}";
        await RunAsync(
            program, "convert", "-c", "-O", "qcow2", "-o", options,
            _scene.File("top.qcow2"), _scene.File("ours.qcow2"));
        await _scene.AssertCleanAsync("@ours.qcow2");
        await _scene.AssertSameContentAsync("@top.qcow2", "@ours.qcow2");
        Assert.Contains("\"compressed\": true", await _scene.TheirsOkAsync(
            QemuImgScene.Peer, "map", "--output", "json", "@ours.qcow2"), StringComparison.Ordinal);
        await _scene.TheirsOkAsync(
            QemuImgScene.Peer, "convert", "-c", "-O", "qcow2", "-o", options, "@top.qcow2", "@theirs.qcow2");
        await RunAsync(program, "compare", _scene.File("theirs.qcow2"), _scene.File("top.qcow2"));
        await RunAsync(program, "convert", "-O", "raw", _scene.File("theirs.qcow2"), _scene.File("plain.raw"));
        await _scene.AssertSameContentAsync("@top.qcow2", "@plain.raw");
        await RunAsync(program, "check", _scene.File("theirs.qcow2"));
    }

    private static async Task RunAsync(string program, params string[] line)
    {
        var result = await Tool.RunAsync(program, ["image", .. line]);
        Assert.True(result.ExitCode == 0, $"{string.Join(' ', line)}: {result.Error}{result.Output}");
    }
}
