using System.Text.Json.Nodes;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Qmp;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Interop;

/// <summary>What a guest's discards and zeroes do to an image, with each way to say <c>discard</c> of the format's node
/// and of the file's, named or not: what they do with QEMU.</summary>
[Trait("Category", "Interop")]
public sealed class SameDiscardsTests
{
    private const int Length = 1 << 20;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public async Task Discards_do_what_they_do_with_QEMU(string format)
    {
        var version = QemuVersions.Need("11.1");
        using var folder = new TemporaryDirectory();
        await using var daemon = await RealDaemon.StartAsync(version.Program("qemu-storage-daemon"));
        await using var engine = new StorageEngine();
        await using var monitor = await engine.ConnectInProcessAsync(Token);
        HashSet<string> seen = [];
        foreach (var upper in (string[])["", ",'discard':'ignore'", ",'discard':'unmap'"])
        {
            foreach (var isNamed in (bool[])[false, true])
            {
                foreach (var lower in (string[])["", ",'discard':'ignore'", ",'discard':'unmap'"])
                {
                    var theirs = await PlayAsync(daemon.Monitor, folder.Path, format, upper, lower, isNamed);
                    var ours = await PlayAsync(monitor, folder.Path, format, upper, lower, isNamed);
                    Assert.True(theirs == ours, $"upper {upper} lower {lower} named {isNamed}: {theirs}; ours {ours}");
                    seen.Add(ours);
                }
            }
        }

        Assert.True(seen.Count > 1, "the option makes no difference");
        await daemon.QuitAsync();
    }

    // What the image is afterwards: its map, and the storage that its file has, in clusters.
    private static async Task<string> PlayAsync(
        IMonitor monitor, string folder, string format, string upper, string lower, bool isNamed)
    {
        var path = Path.Combine(folder, "disk");
        var socket = Path.Combine(folder, "nbd");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", format, path, $"{Length}");
        var file = $"'driver':'file','node-name':'f','filename':'{path}'{lower}";
        if (isNamed)
        {
            await DoAsync(monitor, "blockdev-add", $"{{{file}}}");
        }

        await DoAsync(
            monitor,
            "blockdev-add",
            $"{{'driver':'{format}','node-name':'disk'{upper},'file':{(isNamed ? "'f'" : $"{{{file}}}")}}}");
        await DoAsync(
            monitor, "nbd-server-start", $"{{'addr':{{'type':'unix','data':{{'path':'{socket}'}}}}}}");
        await DoAsync(
            monitor,
            "block-export-add",
            "{'type':'nbd','id':'guest','node-name':'disk','name':'guest','writable':true}");
        await using (var disk = await NbdNode.ConnectAsync(
            "guest", NbdEndPoint.ForUnix(socket), new NbdNodeOptions { ExportName = "guest" }, Token))
        {
            var bytes = new byte[Length];
            bytes.AsSpan().Fill(7);
            await disk.WriteAsync(0, bytes, cancellationToken: Token);
            await disk.DiscardAsync(Length / 4, Length / 4, Token);
            await disk.WriteZeroesAsync(Length / 2, Length / 4, WriteFlags.MayUnmap, Token);
            await disk.WriteZeroesAsync(Length / 4 * 3, Length / 8, WriteFlags.None, Token);
            await disk.FlushAsync(Token);
        }

        await DoAsync(monitor, "block-export-del", "{'id':'guest','mode':'hard'}");
        await DoAsync(monitor, "nbd-server-stop", "{}");
        await DeleteAsync(monitor, "disk");
        if (isNamed)
        {
            await DeleteAsync(monitor, "f");
        }

        var map = await Tool.RunOkAsync("qemu-img", "map", "--output=json", "-f", format, path);
        var blocks = await Tool.RunOkAsync("stat", "-c", "%b", path);
        File.Delete(path);
        return $"{map}{long.Parse(blocks) * 512 / 65536} clusters";
    }

    // The export's end is not waited for by block-export-del.
    private static async Task DeleteAsync(IMonitor monitor, string node)
    {
        var start = TimeProvider.System.GetTimestamp();
        while (true)
        {
            try
            {
                await DoAsync(monitor, "blockdev-del", $"{{'node-name':'{node}'}}");
                return;
            }
            catch (QmpException exception) when (exception.Description.Contains("in use", StringComparison.Ordinal)
                && TimeProvider.System.GetElapsedTime(start) < s_patience)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(5), Token);
            }
        }
    }

    private static Task DoAsync(IMonitor monitor, string command, string arguments) => monitor.ExecuteAsync(
        new QmpCommand(command, JsonNode.Parse(arguments.Replace('\'', '"'))!.AsObject()), Token)
        .WaitAsync(s_patience, Token);
}
