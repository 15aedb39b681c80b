using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Journal;

public sealed class RunJournalTests
{
    /// <summary>At least one of every kind.</summary>
    internal static UndoAction[] All { get; } =
    [
        new UndoAction.LocalDirectory("/tmp/d"),
        new UndoAction.LocalFile("/tmp/d/nbd.sock"),
        new UndoAction.NbdServer(NbdAddress.Unix("/tmp/d/nbd.sock")),
        new UndoAction.NbdServer(NbdAddress.Tcp("host", 10809)),
        new UndoAction.Node("node"),
        new UndoAction.TemporaryBitmap("vda", "t"),
        new UndoAction.CheckpointBitmap("vda", "c"),
        new UndoAction.Job("job"),
        new UndoAction.Export("export"),
        new UndoAction.ServerSocket("/tmp/d/s"),
        new UndoAction.ServerObject("tls"),
        new UndoAction.ScratchFile("/tmp/d/scratch"),
        new UndoAction.TargetFile("/tmp/d/target"),
        new UndoAction.CheckpointFile("/tmp/d/c1.xml"),
    ];

    [Fact]
    public void What_is_written_is_read()
    {
        using var folder = new TemporaryDirectory();
        var run = Folder(folder);
        using (var journal = RunJournal.Create(run.JournalPath, "0123456789abcdef", "vm ü", "qmp:/x"))
        {
            journal.WillDo(All[..4]);
            journal.WillDo([]);
            journal.ServerStarted();
            journal.WillDo(All[4..]);
        }

        var record = run.ReadJournal()!;
        Assert.Equal(("0123456789abcdef", "vm ü", "qmp:/x"), (record.RunId, record.VmName, record.Source));
        Assert.Equal(All, record.Undo);
        Assert.True(record.ServerStarted);
        Assert.Null(record.Committed);
    }

    [Fact]
    public void A_committed_run_names_what_it_superseded()
    {
        using var folder = new TemporaryDirectory();
        var run = Folder(folder);
        using (var journal = RunJournal.Create(run.JournalPath, "0123456789abcdef", "vm", "qmp:/x"))
        {
            journal.WillDo([new UndoAction.CheckpointBitmap("vda", "new")]);
            journal.Committed("abcd", [new UndoAction.TemporaryBitmap("vda", "old")]);
        }

        var record = run.ReadJournal()!;
        Assert.Equal("abcd", record.Committed);
        Assert.Equal(new UndoAction.TemporaryBitmap("vda", "old"), record.Undo[^1]);
    }

    /// <summary>A line that a crash cut short announced an effect that did not take place.</summary>
    [Fact]
    public void Cut_at_any_byte_it_is_read_up_to_the_last_whole_line()
    {
        using var folder = new TemporaryDirectory();
        var run = Folder(folder);
        using (var journal = RunJournal.Create(run.JournalPath, "0123456789abcdef", "vm", "qmp:/x"))
        {
            foreach (var action in All)
            {
                journal.WillDo([action]);
            }
        }

        var whole = File.ReadAllBytes(run.JournalPath);
        for (var length = 0; length < whole.Length; length++)
        {
            var lines = whole.AsSpan(0, length).Count((byte)'\n');
            var record = JournalFormat.Parse(whole.AsSpan(0, length), "journal");
            Assert.Equal(All.Take(Math.Max(lines - 1, 0)), record?.Undo ?? []);
        }
    }

    [Theory]
    [InlineData("no json\n")]
    [InlineData("{\"journal\":2,\"run\":\"r\",\"vm\":\"v\",\"source\":\"s\"}\n")]
    [InlineData("{\"journal\":1,\"run\":\"r\",\"vm\":\"v\",\"source\":\"s\"}\n{\"undo\":[{\"kind\":\"burn\"}]}\n")]
    [InlineData("{\"journal\":1,\"run\":\"r\",\"vm\":\"v\",\"source\":\"s\"}\n{\"undo\":7}\n")]
    public void A_damaged_journal_is_an_error_and_not_an_empty_one(string text)
    {
        var error = Assert.Throws<BackupException>(() => JournalFormat.Parse(System.Text.Encoding.UTF8.GetBytes(text),
            "journal"));
        Assert.Equal(BackupErrorKind.State, error.Kind);
    }

    [Fact]
    public void One_lock_at_a_time()
    {
        using var folder = new TemporaryDirectory();
        var run = new StateDirectory(folder.Path).FolderOf("qmp:/x", "vm");
        using (run.TryLock())
        {
            Assert.Null(run.TryLock());
            using var other = new StateDirectory(folder.Path).FolderOf("qmp:/x", "vm2").TryLock();
            Assert.NotNull(other);
        }

        using var again = run.TryLock();
        Assert.NotNull(again);
    }

    private static RunFolder Folder(TemporaryDirectory folder)
    {
        var run = new StateDirectory(folder.Path).FolderOf("qmp:/x", "vm");
        run.TryLock()!.Dispose();
        return run;
    }
}
