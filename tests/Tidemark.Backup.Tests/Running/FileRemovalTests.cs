using System.Net.Sockets;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Running;

/// <summary>What is taken back is the file that was made, not whatever has its name by now.</summary>
public sealed class FileRemovalTests
{
    [Fact]
    public void Only_the_file_that_was_made_is_deleted()
    {
        using var folder = new TemporaryDirectory();
        var path = folder.File("vda.scratch");
        var ours = LocalEffects.CreateFile(path, "");
        File.WriteAllText(path, "the hypervisor wrote into it");
        FileRemoval.DeleteOurs(path, ours);
        Assert.False(File.Exists(path));

        // A file system gives the number of a file that is gone to the next one at once; the clock of births ticks
        // every few milliseconds.
        var again = LocalEffects.CreateFile(path, "");
        while (again.Born == ours.Born)
        {
            File.Delete(path);
            again = LocalEffects.CreateFile(path, "");
        }

        FileRemoval.DeleteOurs(path, ours);
        Assert.True(File.Exists(path));
        FileRemoval.DeleteOurs(path, again with { Born = again.Born - 1 });
        Assert.True(File.Exists(path));
    }

    [Fact]
    public void A_file_that_was_perhaps_made_is_deleted_only_if_it_is_empty()
    {
        using var folder = new TemporaryDirectory();
        var path = folder.File("vda.scratch");
        File.WriteAllText(path, "somebody's");
        FileRemoval.DeleteOurs(path, null);
        Assert.True(File.Exists(path));
        File.WriteAllText(path, "");
        FileRemoval.DeleteOurs(path, null);
        Assert.False(File.Exists(path));
        Directory.CreateDirectory(path);
        FileRemoval.DeleteOurs(path, null);
        Assert.True(Directory.Exists(path));
    }

    [Fact]
    public void A_socket_is_deleted_unless_somebody_listens()
    {
        using var folder = new TemporaryDirectory();
        var path = folder.File("nbd.sock");
        using (var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen();
            FileRemoval.DeleteSocket(path);
            Assert.True(File.Exists(path));

            // The runtime would delete the file itself: it gets another name meanwhile.
            File.Move(path, path + ".kept");
        }

        File.Move(path + ".kept", path);
        FileRemoval.DeleteSocket(path);
        Assert.False(File.Exists(path));
        File.WriteAllText(path, "");
        FileRemoval.DeleteSocket(path);
        Assert.True(File.Exists(path));
    }

    [Fact]
    public void The_identity_comes_back_from_the_journal()
    {
        using var folder = new TemporaryDirectory();
        var journal = folder.File("journal");
        var identity = new FileIdentity(ulong.MaxValue, 1UL << 63, -1);
        using (var run = RunJournal.Create(journal, "0123456789abcdef", "vm", "qmp:/x"))
        {
            run.WillDo([new UndoAction.ScratchFile("/a"), new UndoAction.TargetFile("/b")]);
            run.Made("/b", identity);
        }

        Assert.Equal(
            [new UndoAction.ScratchFile("/a"), new UndoAction.TargetFile("/b", identity)],
            RunFolder.ReadJournal(journal)!.Undo);
    }
}
