using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>libnbd's Python module without strict mode: every command with every flag at every kind of range, legal or
/// not. Each has the answer that the document asks for, and the connection outlives all of them.</summary>
[Trait("Category", "Interop")]
public sealed class LibnbdMatrixTests
{
    private const string Python = "/usr/bin/python3";

    private const string Script = """
        import sys, nbd
        writable = sys.argv[2] == "w"
        h = nbd.NBD()
        if sys.argv[3] == "s":
            h.add_meta_context("base:allocation")
        else:
            h.set_request_structured_replies(False)
        h.connect_uri(sys.argv[1])
        h.set_strict_mode(0)
        size = h.get_size()
        FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
        commands = {
            "pread": (lambda o, n, f: h.pread(n, o, f), DF if sys.argv[3] == "s" else 0, False),
            "pwrite": (lambda o, n, f: h.pwrite(b"x" * n, o, f), 0, True),
            "zero": (lambda o, n, f: h.zero(n, o, f), NO_HOLE | FAST_ZERO, True),
            "trim": (lambda o, n, f: h.trim(n, o, f), 0, True),
            "cache": (lambda o, n, f: h.cache(n, o, f), 0, False),
            "status": (lambda o, n, f: h.block_status(n, o, lambda *a: 0, f), REQ_ONE, False),
        }
        ranges = [(0, 512), (size - 512, 512), (1, 3), (0, size), (size, 512), (size - 1, 2), (size - 512, 1024),
                  (1 << 40, 512), ((1 << 63) - 512, 512)]
        flags = [0, FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, 32, 64, 1 << 15, FUA | FAST_ZERO, DF | FUA, REQ_ONE | FUA]
        count = 0
        for name, (call, allowed, writes) in commands.items():
            for offset, length in ranges:
                for flag in flags:
                    inside = offset + length <= size
                    if flag & ~(allowed | FUA):
                        expected = {"EINVAL"}
                    elif writes and not writable:
                        expected = {"EPERM"}
                    elif not inside:
                        expected = {"ENOSPC"} if name in ("pwrite", "zero") else {"EINVAL"}
                    elif name == "status" and sys.argv[3] != "s":
                        expected = {"EINVAL"}
                    elif flag & FAST_ZERO:
                        expected = {"", "ENOTSUP"}
                    else:
                        expected = {""}
                    if name == "status" and sys.argv[3] != "s":
                        expected.add("EINVAL"); expected.add("ENOTSUP")
                    try:
                        call(offset, length, flag)
                        got = ""
                    except nbd.Error as error:
                        got = error.errno
                    count += 1
                    assert got in expected, (name, offset, length, flag, got, expected)
                    assert not h.aio_is_dead() and not h.aio_is_closed(), (name, offset, length, flag)
        for flag in flags:
            try:
                h.flush(flag)
                got = ""
            except nbd.Error as error:
                got = error.errno
            assert got == ("" if flag in (0, FUA) else "EINVAL"), ("flush", flag, got)
        assert len(h.pread(512, 0)) == 512
        h.shutdown()
        print(count)
        """;

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public async Task Every_command_and_flag_has_the_answer_of_the_document(bool writable, bool structured)
    {
        Assert.SkipUnless(
            File.Exists(Python) && (await Tool.RunAsync(Python, ["-c", "import nbd"])).ExitCode == 0,
            "not installed: python3-libnbd");
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export(
            "vda", new MemoryNode("disk", new byte[1 << 20]), new NbdExportOptions { Writable = writable });
        var output = await Tool.RunOkAsync(
            Python, "-c", Script, fixture.Uri("vda"), writable ? "w" : "r", structured ? "s" : "-");
        Assert.Equal("648", output.Trim());
    }
}
