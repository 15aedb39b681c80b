using System.Text.Json.Nodes;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Files;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>The peers' clients against our server.</summary>
[Trait("Category", "Interop")]
public sealed class ServerInteropTests
{
    private const int Length = 8 << 20;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // A disk with data at [1 MiB, 2 MiB) and [4 MiB, 4 MiB + 64 KiB), holes elsewhere; two granules dirty.
    private static async Task<NbdFixture> StartAsync(bool writable = true)
    {
        var fixture = await NbdFixture.StartAsync();
        var disk = RawFileNode.Create("disk", fixture.Directory.File("disk.raw"), Length);
        var bytes = new byte[1 << 20];
        new Random(1).NextBytes(bytes);
        await disk.WriteAsync(1 << 20, bytes, cancellationToken: Cancellation);
        await disk.WriteAsync(4 << 20, bytes.AsMemory(0, 65536), cancellationToken: Cancellation);
        var bitmap = new DirtyBitmap("b0", Length) { IsRecording = false };
        bitmap.Set(1 << 20, 1);
        bitmap.Set(Length - 1, 1);
        fixture.Export(
            "vda", disk, new NbdExportOptions { Writable = writable, Bitmaps = [bitmap], Description = "a disk" });
        return fixture;
    }

    [Fact]
    public async Task Nbdinfo_reads_what_we_say_of_an_export()
    {
        Assert.SkipWhen(Tool.Missing("nbdinfo") is not null, Tool.Missing("nbdinfo") ?? "");
        await using var fixture = await StartAsync(writable: false);
        var info = JsonNode.Parse(await Tool.RunOkAsync("nbdinfo", "--json", fixture.Uri("vda")))!;
        Assert.Equal("newstyle-fixed", (string)info["protocol"]!);
        var export = info["exports"]![0]!;
        Assert.Equal(Length, (long)export["export-size"]!);
        Assert.Equal("a disk", (string)export["description"]!);
        Assert.True((bool)export["is_read_only"]!);
        Assert.True((bool)export["can_multi_conn"]!);
        Assert.True((bool)export["can_df"]!);
        Assert.True((bool)export["can_flush"]!);
        Assert.True((bool)export["can_fua"]!);
        Assert.Equal(1, (long)export["block_size_minimum"]!);
        Assert.Equal(32 << 20, (long)export["block_size_maximum"]!);
        Assert.Equal(
            ["base:allocation", "qemu:dirty-bitmap:b0"],
            export["contexts"]!.AsArray().Select(context => (string)context!));

        var list = JsonNode.Parse(await Tool.RunOkAsync("nbdinfo", "--list", "--json", fixture.Uri("")))!;
        Assert.Equal("vda", (string)list["exports"]![0]!["export-name"]!);
    }

    [Fact]
    public async Task Nbdinfo_maps_allocation_and_dirty_bitmap()
    {
        Assert.SkipWhen(Tool.Missing("nbdinfo") is not null, Tool.Missing("nbdinfo") ?? "");
        await using var fixture = await StartAsync();
        Assert.Equal(
            [(0, 1 << 20, 3), (1 << 20, 1 << 20, 0), (2 << 20, 2 << 20, 3), (4 << 20, 65536, 0), (
                (4 << 20) + 65536, (4 << 20) - 65536, 3)],
            await MapAsync(fixture, "base:allocation"));
        Assert.Equal(
            [(0, 1 << 20, 0), (1 << 20, 65536, 1), ((1 << 20) + 65536, Length - 65536 - (1 << 20) - 65536, 0), (
                Length - 65536, 65536, 1)],
            await MapAsync(fixture, "qemu:dirty-bitmap:b0"));
    }

    private static async Task<List<(long Offset, long Length, long Type)>> MapAsync(NbdFixture fixture, string context)
    {
        var map = JsonNode.Parse(await Tool.RunOkAsync("nbdinfo", "--json", $"--map={context}", fixture.Uri("vda")))!;
        return [.. map.AsArray().Select(e => ((long)e!["offset"]!, (long)e["length"]!, (long)e["type"]!))];
    }

    [Fact]
    public async Task Nbdcopy_copies_out_and_in()
    {
        Assert.SkipWhen(Tool.Missing("nbdcopy") is not null, Tool.Missing("nbdcopy") ?? "");
        await using var fixture = await StartAsync();
        var copy = fixture.Directory.File("copy.raw");
        await Tool.RunOkAsync("nbdcopy", "--connections=4", fixture.Uri("vda"), copy);
        Assert.True(File.ReadAllBytes(fixture.Directory.File("disk.raw")).AsSpan().SequenceEqual(
            File.ReadAllBytes(copy)));

        var bytes = new byte[Length];
        new Random(2).NextBytes(bytes.AsSpan(3 << 20));
        await File.WriteAllBytesAsync(copy, bytes, Cancellation);
        await Tool.RunOkAsync("nbdcopy", "--flush", "--connections=4", copy, fixture.Uri("vda"));
        Assert.True(File.ReadAllBytes(fixture.Directory.File("disk.raw")).AsSpan().SequenceEqual(bytes));
    }

    [Fact]
    public async Task Qemu_img_converts_compares_and_maps()
    {
        Assert.SkipWhen(Tool.Missing("qemu-img") is not null, Tool.Missing("qemu-img") ?? "");
        await using var fixture = await StartAsync();
        var copy = fixture.Directory.File("copy.qcow2");
        await Tool.RunOkAsync("qemu-img", "convert", "-f", "raw", "-O", "qcow2", fixture.Uri("vda"), copy);
        await Tool.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "qcow2", fixture.Uri("vda"), copy);
        var map =
            JsonNode.Parse(await Tool.RunOkAsync("qemu-img", "map", "--output=json", "-f", "raw", fixture.Uri("vda")))!;
        Assert.Equal(
            [true, false, true, false, true], map.AsArray().Select(extent => (bool)extent!["zero"]!));

        // QEMU's client reads a dirty bitmap as the block status of the node.
        map = JsonNode.Parse(await Tool.RunOkAsync(
            "qemu-img", "map", "--output=json", "--image-opts",
            $"driver=nbd,server.type=unix,server.path={fixture.SocketPath},export=vda,"
                + "x-dirty-bitmap=qemu:dirty-bitmap:b0"))!;
        Assert.Equal([true, false, true, false], map.AsArray().Select(extent => (bool)extent!["data"]!));

        await Tool.RunOkAsync("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", copy, fixture.Uri("vda"));
        await Tool.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "qcow2", fixture.Uri("vda"), copy);
    }

    [Fact]
    public async Task Qemu_io_writes_zeroes_discards_and_flushes()
    {
        Assert.SkipWhen(Tool.Missing("qemu-io") is not null, Tool.Missing("qemu-io") ?? "");
        await using var fixture = await StartAsync();
        var output = await Tool.RunOkAsync(
            "qemu-io", "-f", "raw", "-t", "none",
            "-c", "write -P 0x5a 4096 65536", "-c", "write -f -P 0x5b 100k 4k", "-c", "write -z -u 8k 4k",
            "-c", "write -z 16k 4k", "-c", "discard 32k 4k", "-c", "flush",
            "-c", "read -P 0 8k 4k", "-c", "read -P 0 16k 4k", "-c", "read -P 0x5a 20k 12k", "-c",
            "read -P 0x5b 100k 4k",
            fixture.Uri("vda"));
        Assert.DoesNotContain("Pattern verification failed", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Fio_verifies_what_it_wrote()
    {
        Assert.SkipWhen(Tool.Missing("fio") is not null, Tool.Missing("fio") ?? "");
        await using var fixture = await StartAsync();
        var result = await Tool.RunAsync(
            "fio",
            [
                "--name=job", "--ioengine=nbd", $"--uri={fixture.Uri("vda")}", "--rw=randwrite", "--bs=4k",
            "--iodepth=16",
                $"--size={Length}", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
            ],
            timeout: TimeSpan.FromSeconds(60));
        Assert.SkipWhen(
            (result.Error + result.Output).Contains("engine nbd not loadable", StringComparison.Ordinal),
            "fio has no nbd engine");
        Assert.True(result.ExitCode == 0, result.Output + result.Error);
    }

    [Fact]
    public async Task Libnbd_without_strict_mode_meets_an_error_for_each_illegal_request()
    {
        const string python = "/usr/bin/python3";
        Assert.SkipUnless(
            File.Exists(python) && (await Tool.RunAsync(python, ["-c", "import nbd"])).ExitCode == 0,
            "python3-libnbd is not installed");
        await using var fixture = await StartAsync(writable: false);
        const string script = """
            import sys, nbd
            h = nbd.NBD()
            h.add_meta_context("base:allocation")
            h.connect_uri(sys.argv[1])
            h.set_strict_mode(0)
            size = h.get_size()
            def refused(name, errnum, call):
                try:
                    call()
                except nbd.Error as error:
                    print(name, error.errno)
                else:
                    print(name, "accepted")
            refused("pread past the end", "", lambda: h.pread(512, size - 256))
            refused("pread at 2^63", "", lambda: h.pread(512, 1 << 62))
            refused("pwrite read-only", "", lambda: h.pwrite(b"x" * 512, 0))
            refused("zero read-only", "", lambda: h.zero(512, 0))
            refused("trim read-only", "", lambda: h.trim(512, 0))
            refused("pread with FUA", "", lambda: h.pread(512, 0, nbd.CMD_FLAG_FUA))
            refused("pread with NO_HOLE", "", lambda: h.pread(512, 0, nbd.CMD_FLAG_NO_HOLE))
            refused("flush with DF", "", lambda: h.flush(nbd.CMD_FLAG_DF))
            refused("cache with REQ_ONE", "", lambda: h.cache(512, 0, nbd.CMD_FLAG_REQ_ONE))
            refused("status past the end", "", lambda: h.block_status(512, size, lambda *a: 0))
            refused("pread of nothing", "", lambda: h.pread(0, 0))
            refused("cache", "", lambda: h.cache(512, 0))
            assert len(h.pread(512, 1 << 20)) == 512
            h.shutdown()
            """;
        var output = await Tool.RunOkAsync(python, "-c", script, fixture.Uri("vda"));
        Assert.Equal(
            """
            pread past the end EINVAL
            pread at 2^63 EINVAL
            pwrite read-only EPERM
            zero read-only EPERM
            trim read-only EPERM
            pread with FUA accepted
            pread with NO_HOLE EINVAL
            flush with DF EINVAL
            cache with REQ_ONE EINVAL
            status past the end EINVAL
            pread of nothing accepted
            cache accepted

            """.ReplaceLineEndings("\n"),
            output);
    }
}
