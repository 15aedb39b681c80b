using System.Globalization;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>A disk that becomes full in the middle of a change, played by a limit on the size of files: the program
/// says so and fails, the images are whole, the disk is what it was; and with room the same line succeeds.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class FullDiskTests : IDisposable
{
    private const int BlockSize = 512;

    private readonly QemuImgScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Theory]
    [InlineData("base.qcow2", "commit", "@top.qcow2")]
    [InlineData("top.qcow2", "rebase", "-b", "", "@top.qcow2")]
    [InlineData("top.qcow2", "resize", "--preallocation=full", "@top.qcow2", "40M")]
    [InlineData("top.qcow2", "bitmap", "--add", "-g", "512", "@top.qcow2", "b0")]
    [InlineData("top.qcow2", "convert", "-O", "raw", "@top.qcow2", "@new.raw")]
    public async Task Nothing_is_lost_when_there_is_no_room(string grows, params string[] line)
    {
        var peer = QemuImgScene.Peer;
        await _scene.TheirsOkAsync(peer, "create", "-q", "-f", "qcow2", "@base.qcow2", "32M");
        await _scene.IoAsync("@base.qcow2", "qcow2", "write -P 1 0 1M", "write -P 2 20M 4M");
        await _scene.TheirsOkAsync(
            peer, "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "@top.qcow2");
        await _scene.IoAsync("@top.qcow2", "qcow2", "write -P 3 512k 512k", "write -P 4 3M 6M");
        await _scene.OursOkAsync("convert", "-O", "raw", "@top.qcow2", "@before.raw");
        var room = new FileInfo(_scene.File(grows)).Length + (line[0] == "bitmap" ? 0 : 1 << 20);
        var refused = await RunAsync(room, line);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("too large", refused.Error, StringComparison.OrdinalIgnoreCase);
        foreach (var image in new[] { "@base.qcow2", "@top.qcow2" })
        {
            // 3: leaks, which waste space and no more.
            var check = await _scene.TheirsAsync(peer, "check", image);
            Assert.True(check.ExitCode is 0 or 3, $"{check.Output}{check.Error}");
        }

        await _scene.AssertSameContentAsync("@before.raw", "@top.qcow2");
        var done = await RunAsync(1L << 40, line);
        Assert.True(done.ExitCode == 0, done.Error);
        await _scene.AssertCleanAsync("@top.qcow2");
        Assert.Equal(
            0, (await _scene.TheirsAsync(peer, "compare", "@before.raw", "@top.qcow2")).ExitCode);
    }

    private Task<ToolResult> RunAsync(long fileLimit, string[] line)
    {
        // A process that ignores the signal is told by the error, as by a full disk. The run-time's own memory file
        // must not meet the limit.
        const string Script = "ulimit -f \"$1\"; shift; trap '' XFSZ; exec \"$@\"";
        var blocks = (fileLimit / BlockSize).ToString(CultureInfo.InvariantCulture);
        return Tool.RunAsync("sh", ["-c", Script, "sh", blocks, BuiltProgram.Path, "image",
            .. line.Select(word => word.Replace("@", _scene.File("") + "/", StringComparison.Ordinal))],
            environment: new Dictionary<string, string> { ["DOTNET_EnableWriteXorExecute"] = "0" });
    }
}
