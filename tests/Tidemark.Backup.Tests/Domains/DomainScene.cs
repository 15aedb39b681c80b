using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Running;
using Tidemark.Backup.Tests.Interop;
using Tidemark.Backup.Tests.Schemas;
using Tidemark.Backup.Xml;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>A folder, a daemon with disks in it, and the services of a domain whose state is kept there too.</summary>
internal sealed class DomainScene : IAsyncDisposable
{
    private readonly TemporaryDirectory _folder = new();

    private readonly bool _embedded;

    private DomainScene(bool embedded, bool nbd, string[] disks, string? program = null)
    {
        _embedded = embedded;
        Daemon = new RealDaemon(_folder.Path, embedded, nbd, disks) { Program = program ?? "qemu-storage-daemon" };
    }

    internal RealDaemon Daemon { get; }

    internal string Folder => _folder.Path;

    internal List<string> Notes { get; } = [];

    internal HypervisorSource? Source { get; set; }

    internal DomainServiceOptions Options => new()
    {
        State = new StateDirectory(_folder.File("state")),
        Note = Notes.Add,
        LockTimeout = TimeSpan.FromSeconds(10),
    };

    internal DomainService Service => new(Options, Checked);

    internal CheckpointService Checkpoints => new(Options, Checked);

    internal ChangeService Changes => new(Options, Checked);

    // Whatever a test has done: each command is one that every supported QEMU takes.
    private HypervisorSource Checked
    {
        get
        {
            var source = Source ?? Daemon.Source;
            return _embedded ? source : source with
            {
                ConnectAsync = async token => new SchemaMonitor(await source.ConnectAsync(token)),
            };
        }
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    internal static Task<DomainScene> StartAsync(bool embedded, bool nbd, params string[] disks) =>
        StartSizedAsync("8M", embedded, nbd, disks);

    internal static async Task<DomainScene> StartSizedAsync(
        string size, bool embedded, bool nbd, params string[] disks)
    {
        RealDaemonTests.Skip();
        return await StartAsync(new DomainScene(embedded, nbd, disks), size);
    }

    /// <summary>With the storage daemon of a version, and disks of a size.</summary>
    internal static Task<DomainScene> StartAsync(QemuVersion? version, string size, params string[] disks) =>
        StartAsync(new DomainScene(embedded: false, nbd: true, disks, version?.Program("qemu-storage-daemon")), size);

    private static async Task<DomainScene> StartAsync(DomainScene scene, string size)
    {
        await scene.Daemon.CreateDisksAsync(size);
        await scene.Daemon.StartAsync();
        return scene;
    }

    internal string File(string name) => _folder.File(name);

    internal BackupBegin Push(
        string target, string? incremental = null, string? checkpoint = null, string disk = "vda") => new()
    {
        Backup = BackupXml.Parse(
            $"""
            <domainbackup>{Since(incremental)}<disks><disk name='{disk}' type='file'>
            <target file='{File(target)}'/></disk></disks></domainbackup>
            """),
        Checkpoint = checkpoint is null ? null : new CheckpointDefinition { Name = checkpoint },
    };

    internal BackupBegin Pull(string? incremental = null, string? checkpoint = null) => new()
    {
        Backup = BackupXml.Parse(
            $"""
            <domainbackup mode='pull'>{Since(incremental)}<server transport='unix' socket='{File("pull.sock")}'/>
            <disks><disk name='vda' type='file'><scratch file='{File("vda.scratch")}'/></disk></disks></domainbackup>
            """),
        Checkpoint = checkpoint is null ? null : new CheckpointDefinition { Name = checkpoint },
    };

    internal async Task<DomainJobInfo> RunAsync(BackupBegin request)
    {
        var begun = await Service.BeginAsync(request, Token);
        return await Service.FollowAsync(begun.RunId, null, null, Token);
    }

    /// <summary>The checkpoints' names with how they stand.</summary>
    internal async Task<string> ListAsync()
    {
        var (tree, review) = await Checkpoints.ListAsync(Token);
        return string.Join(" ", tree.All.Select(one => $"{one.Name}:{review.StandingOf(one.Name!)}"
            + (tree.Current == one.Name ? "*" : "")));
    }

    /// <summary>The bytes that a checkpoint has on a disk.</summary>
    internal async Task<long?> SizeAsync(string checkpoint, string disk = "vda") =>
        (await Checkpoints.MeasureAsync(checkpoint, Token)).Disks!.First(one => one.Name == disk).Size;

    /// <summary>Nothing temporary at the hypervisor, no journal, no file.</summary>
    internal async Task NothingIsLeftAsync()
    {
        var left = await Daemon.LeftoversAsync();
        string[] state = Directory.Exists(File("state"))
            ? Directory.GetFiles(File("state"), "*", SearchOption.AllDirectories)
            : [];
        left.AddRange(state.Where(path => Path.GetFileName(path) is "journal" or "work" || path.EndsWith(".new")));
        left.AddRange(Directory.EnumerateFiles(Folder).Where(path => path.EndsWith(".scratch")));
        Assert.True(left.Count == 0, string.Join(", ", left));
    }

    public async ValueTask DisposeAsync()
    {
        await Daemon.DisposeAsync();
        _folder.Dispose();
    }

    private static string Since(string? checkpoint) =>
        checkpoint is null ? "" : $"<incremental>{checkpoint}</incremental>";
}
