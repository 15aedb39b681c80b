using System.Text;
using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Xml;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>Targets and scratch images that the hypervisor encrypts.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class DomainEncryptionTests
{
    private const string Secret = "the key of the backups";

    private const string Encryption =
        $"<encryption format='luks'><secret type='passphrase' usage='{Secret}'/></encryption>";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>What is made and written; each key takes a processor some seconds, so <c>TIDEMARK_SOAK=1</c> has all of
    /// them.</summary>
    public static TheoryData<string, string> Cases()
    {
        if (Environment.GetEnvironmentVariable("TIDEMARK_SOAK") is null)
        {
            return new() { { "10.0", "qcow2" }, { "11.1", "scratch" } };
        }

        TheoryData<string, string> cases = [];
        foreach (var number in new[] { "7.2", "10.0", "11.1" })
        {
            foreach (var kind in new[] { "qcow2", "raw", "scratch", "existing" })
            {
                cases.Add(number, kind);
            }
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public Task What_is_written_is_encrypted_and_comes_back(string number, string kind) => kind switch
    {
        "existing" => WriteIntoExistingAsync(number),
        "scratch" => MakeAsync(number, "qcow2", isPull: true),
        _ => MakeAsync(number, kind, isPull: false),
    };

    // Into images that exist already, of every kind.
    private static async Task WriteIntoExistingAsync(string number)
    {
        await using var scene = await StartAsync(number);
        await scene.Daemon.WriteAsync("vda", "write -q -P 0x41 1M 1M");
        await scene.Daemon.WriteAsync("vdb", "write -q -P 0x41 2M 1M");
        await CreateAsync(scene, "qcow2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "a.target");
        await CreateAsync(scene, "luks", "key-secret=s,iter-time=10", "b.target");
        await CreateAsync(scene, "qcow2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "a.scratch");
        var pushed = await scene.RunAsync(Begin(scene, $"""
            <domainbackup><disks>
              <disk name='vda'><target file='{scene.File("a.target")}'>{Encryption}</target></disk>
              <disk name='vdb'><driver type='raw'/><target file='{scene.File("b.target")}'>{Encryption}</target></disk>
            </disks></domainbackup>
            """));
        Assert.Equal((JobResult.Completed, null), (pushed.Result!.Value, pushed.Error));
        await ReadAsync(scene, Qcow2(scene, "a.target"), "read -q -P 0x41 1M 1M");
        await ReadAsync(scene, $"driver=luks,key-secret=s,file.filename={scene.File("b.target")}",
            "read -q -P 0x41 2M 1M");
        IsNotInClear(scene, "a.target");
        IsNotInClear(scene, "b.target");
        await NoKeyIsLeftAsync(scene, pushed.RunId);

        var begun = await scene.Service.BeginAsync(
            Begin(scene, $"""
                <domainbackup mode='pull'><server transport='unix' socket='{scene.Daemon.NbdPath}'/><disks>
                  <disk name='vda' exportname='view'>
                    <scratch file='{scene.File("a.scratch")}'>{Encryption}</scratch>
                  </disk>
                </disks></domainbackup>
                """) with { NbdRuns = true },
            Token);
        await scene.Daemon.WriteAsync("vda", "write -q -P 0x42 1M 1M");
        await Tool.RunOkAsync(
            "qemu-io", "-r", "-f", "raw", "-c", "read -q -P 0x41 1M 1M",
            $"nbd+unix:///view?socket={scene.Daemon.NbdPath}");
        IsNotInClear(scene, "a.scratch");
        Assert.True(new FileInfo(scene.File("a.scratch")).Length > 1 << 20, "nothing was saved");
        Assert.Contains(
            "usage='the key of the backups'", await scene.Service.DumpAsync(Token), StringComparison.Ordinal);
        await scene.Service.AbortAsync(givesUp: false, Token);
        await NoKeyIsLeftAsync(scene, begun.RunId);
        File.Delete(scene.File("a.scratch"));
        await scene.NothingIsLeftAsync();
    }

    private static async Task MakeAsync(string number, string format, bool isPull)
    {
        await using var scene = await StartAsync(number);
        await scene.Daemon.WriteAsync("vda", "write -q -P 0x41 1M 1M");
        var name = isPull ? "scratch" : "target";
        var disk = $"<disk name='vda' type='file'><driver type='{format}'/><{name} file='{scene.File("a.scratch")}'>"
            + $"{Encryption}</{name}></disk>";
        var request = Begin(
            scene,
            isPull
                ? $"<domainbackup mode='pull'><server transport='unix' socket='{scene.Daemon.NbdPath}'/><disks>{disk}"
                    + "</disks></domainbackup>"
                : $"<domainbackup><disks>{disk}</disks></domainbackup>") with
        {
            ReuseExternal = false,
            NbdRuns = isPull,
        };
        if (isPull)
        {
            request = request with
            {
                Backup = request.Backup with
                {
                    Disks = [request.Backup.Disks![0] with { ExportName = "view" }],
                },
            };
            await scene.Service.BeginAsync(request, Token);
            await scene.Daemon.WriteAsync("vda", "write -q -P 0x42 1M 1M");
            await Tool.RunOkAsync(
                "qemu-io", "-r", "-f", "raw", "-c", "read -q -P 0x41 1M 1M",
                $"nbd+unix:///view?socket={scene.Daemon.NbdPath}");
            await scene.Service.AbortAsync(givesUp: false, Token);
        }
        else
        {
            Assert.Equal(JobResult.Completed, (await scene.RunAsync(request)).Result);
            await ReadAsync(
                scene,
                format == "raw"
                    ? $"driver=luks,key-secret=s,file.filename={scene.File("a.scratch")}"
                    : Qcow2(scene, "a.scratch"),
                "read -q -P 0x41 1M 1M");
            IsNotInClear(scene, "a.scratch");
            File.Delete(scene.File("a.scratch"));
        }

        Assert.Contains(scene.Notes, note => note.Contains("derives a key", StringComparison.Ordinal));
        await scene.NothingIsLeftAsync();
    }

    /// <summary>A key that is not there, and hypervisors that cannot encrypt (the embedded engine; QEMU 5.2's storage
    /// daemon, whose monitor takes no keys): refused, and nothing was written.</summary>
    [Theory]
    [InlineData(false, "7.2", "nowhere")]
    [InlineData(false, "5.2", "cannot encrypt an image")]
    [InlineData(true, null, "cannot encrypt an image")]
    public async Task What_cannot_be_encrypted_is_not_written(bool embedded, string? number, string message)
    {
        await using var scene = embedded
            ? await DomainScene.StartAsync(embedded, nbd: true, "vda")
            : await DomainScene.StartAsync(QemuVersions.Need(number!), "8M", "vda");
        var request = Begin(
            scene,
            $"<domainbackup><disks><disk name='vda'><target file='{scene.File("t")}'>{Encryption}</target></disk>"
                + "</disks></domainbackup>") with
        {
            ReuseExternal = false,
            SecretFiles = new Dictionary<string, string> { [Secret] = scene.File("nowhere") },
        };
        var error = await Assert.ThrowsAsync<BackupException>(() => scene.Service.BeginAsync(request, Token));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(scene.File("t")));
        await scene.NothingIsLeftAsync();
    }

    private static async Task<DomainScene> StartAsync(string number)
    {
        var scene = await DomainScene.StartAsync(QemuVersions.Need(number), "8M", "vda", "vdb");
        await File.WriteAllTextAsync(scene.File("key"), "letmein", Token);
        return scene;
    }

    private static BackupBegin Begin(DomainScene scene, string xml) => new()
    {
        Backup = BackupXml.Parse(xml),
        ReuseExternal = true,
        SecretFiles = new Dictionary<string, string> { [Secret] = scene.File("key") },
    };

    private static Task CreateAsync(DomainScene scene, string format, string options, string name) =>
        Tool.RunOkAsync(
            "qemu-img", "create", "-q", "-f", format, "--object", $"secret,id=s,file={scene.File("key")}",
            "-o", options, scene.File(name), "8M");

    private static string Qcow2(DomainScene scene, string name) =>
        $"driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename={scene.File(name)}";

    private static Task ReadAsync(DomainScene scene, string image, string command) => Tool.RunOkAsync(
        "qemu-io", "--object", $"secret,id=s,file={scene.File("key")}", "-c", command, "--image-opts", image);

    private static void IsNotInClear(DomainScene scene, string name) =>
        Assert.Equal(-1, File.ReadAllBytes(scene.File(name)).AsSpan().IndexOf(Encoding.ASCII.GetBytes("AAAAAAAA")));

    private static async Task NoKeyIsLeftAsync(DomainScene scene, string runId)
    {
        var error = await Assert.ThrowsAsync<QmpException>(() => scene.Daemon.ExecuteAsync(
            "object-del", new JsonObject { ["id"] = new RunNames(runId).Secret(0) }));
        Assert.Contains("not found", error.Message, StringComparison.Ordinal);
    }
}
