using System.Diagnostics;
using System.Text.Json;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// A machine that is started as most are by hand: the lower layers are opened because the images' headers name them, so
/// that QEMU makes up the names of their nodes; and devices have no ids, so that they are called by their numbers.
/// </summary>
[Trait("Category", "Interop")]
public sealed class PlainStartTests : IAsyncDisposable
{
    private readonly TemporaryDirectory _folder = new();
    private readonly TidemarkProgram _tidemark;
    private Process? _machine;

    public PlainStartTests() => _tidemark = new TidemarkProgram(_folder.Path);

    public static TheoryData<string> EachVersion =>
        [.. QemuVersions.Wanted.Where((_, index) => Soak.IsAsked || index is 0 or 3)];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Monitor => _folder.File("qmp");

    [Theory]
    [MemberData(nameof(EachVersion))]
    public async Task A_checkpoint_goes_from_layers_whose_nodes_have_no_name(string version)
    {
        var qemu = Versions.Need(version)!;
        await CreateAsync("a");
        await StartAsync(qemu, Blockdev("vda", "a"));
        await DoAsync("checkpoint-create-as", "c1");
        await DoAsync("snapshot-create-as", "s1", "--diskspec", $"vda,file={Image("a1")}");
        await DoAsync("checkpoint-create-as", "c2");
        await DoAsync("snapshot-create-as", "s2", "--diskspec", $"vda,file={Image("a2")}");
        await StopAsync();

        await StartAsync(qemu, Blockdev("vda", "a2"));
        Assert.Equal("Domain checkpoint c1 deleted\n", await DoAsync("checkpoint-delete", "c1"));
        using (var list = JsonDocument.Parse(await DoAsync("checkpoint-list", "--json")))
        {
            var left = Assert.Single(list.RootElement.GetProperty("checkpoints").EnumerateArray());
            Assert.Equal(
                ("c2", "valid"), (left.GetProperty("name").GetString(), left.GetProperty("state").GetString()));
            Assert.Empty(list.RootElement.GetProperty("other_bitmaps").EnumerateArray());
        }

        await StopAsync();
        Assert.Equal(
            ["c2", "c2"],
            [.. await BitmapsAsync("a"), .. await BitmapsAsync("a1"), .. await BitmapsAsync("a2")]);
    }

    /// <summary>Else the increment of one would be put on the backup of the other, and be called good.</summary>
    [Fact]
    public async Task No_disk_gets_the_name_of_another_when_devices_come_in_another_order()
    {
        var qemu = Versions.Need(QemuVersions.Wanted[^1])!;
        await CreateAsync("a");
        await CreateAsync("b");
        await StartAsync(qemu, [.. Blockdev("vda", "a"), .. Blockdev("vdb", "b")]);
        await DoAsync("checkpoint-create-as", "c1");
        await StopAsync();

        await StartAsync(qemu, ["-device", "virtio-rng-pci", .. Blockdev("vdb", "b"), .. Blockdev("vda", "a")]);
        Assert.Equal([("vda", "a"), ("vdb", "b")], await DisksAsync());
        await DoAsync("checkpoint-create-as", "c2");
        await StopAsync();
        string[] drives = [.. Drive("b"), "-device", "virtio-rng-pci", .. Drive("a")];
        await StartAsync(qemu, drives);
        Assert.Equal([("vda", "a"), ("vdb", "b")], await DisksAsync());
    }

    public async ValueTask DisposeAsync()
    {
        if (_machine is { HasExited: false })
        {
            _machine.Kill();
            await _machine.WaitForExitAsync(CancellationToken.None);
        }

        _machine?.Dispose();
        _folder.Dispose();
    }

    private string Image(string name) => _folder.File(name + ".qcow2");

    private string[] Blockdev(string node, string image) =>
    [
        "-blockdev", $"driver=qcow2,node-name={node},file.driver=file,file.filename={Image(image)}",
        "-device", $"virtio-blk-pci,drive={node}",
    ];

    private string[] Drive(string image) => ["-drive", $"if=virtio,format=qcow2,file={Image(image)}"];

    private Task CreateAsync(string name) =>
        Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", Image(name), "4M");

    private Task<string> DoAsync(string verb, params string[] arguments) =>
        _tidemark.RunOkAsync(["domain", verb, .. arguments, "--monitor", $"qmp:{Monitor}"]);

    private async Task<List<(string Name, string Image)>> DisksAsync()
    {
        using var disks = JsonDocument.Parse(await DoAsync("domblklist", "--json"));
        return [.. disks.RootElement.EnumerateArray().Select(disk => (
            disk.GetProperty("target").GetString()!,
            Path.GetFileNameWithoutExtension(disk.GetProperty("source").GetString()!)))];
    }

    private async Task StartAsync(QemuVersion qemu, string[] disks)
    {
        _machine = BackgroundProgram.Start(qemu.Program("qemu-system-x86_64"),
            [
                "-machine", "q35,accel=tcg", "-S", "-nodefaults", "-display", "none", "-m", "64", .. disks,
                "-qmp", $"unix:{Monitor},server=on,wait=off",
            ]);
        using var monitor = await TestMonitor.ConnectAsync(Monitor, Token);
    }

    private async Task StopAsync()
    {
        using (var monitor = await TestMonitor.ConnectAsync(Monitor, Token))
        {
            await monitor.ExecuteAsync("quit", null, Token);
        }

        await _machine!.WaitForExitAsync(Token).WaitAsync(TimeSpan.FromSeconds(30), Token);
        _machine.Dispose();
        _machine = null;
        File.Delete(Monitor);
    }

    private async Task<IEnumerable<string>> BitmapsAsync(string image)
    {
        using var info = JsonDocument.Parse(
            await Tool.RunOkAsync("qemu-img", "info", "--output=json", Image(image)));
        return info.RootElement.GetProperty("format-specific").GetProperty("data")
            .TryGetProperty("bitmaps", out var bitmaps)
            ? [.. bitmaps.EnumerateArray().Select(bitmap => bitmap.GetProperty("name").GetString()!)]
            : [];
    }
}
