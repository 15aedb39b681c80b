using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Journal;

/// <summary>What must outlive a command: one folder for each virtual machine and source, with its lock and its
/// journal.</summary>
public sealed partial class StateDirectory
{
    private const string RunsFolder = "runs";
    private const string DomainsFolder = "domains";

    /// <summary>Uses a directory; it is made when it is needed.</summary>
    public StateDirectory(string path) => Root = Path.GetFullPath(path);

    /// <summary>The directory.</summary>
    public string Root { get; }

    /// <summary><c>$XDG_STATE_HOME/tidemark</c>, or <c>~/.local/state/tidemark</c>.</summary>
    public static string DefaultPath
    {
        get
        {
            var state = Environment.GetEnvironmentVariable("XDG_STATE_HOME");
            return Path.Combine(
                string.IsNullOrEmpty(state) || !Path.IsPathRooted(state)
                    ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".local", "state")
                    : state,
                "tidemark");
        }
    }

    /// <summary>The folder of a virtual machine at a source.</summary>
    public RunFolder FolderOf(string source, string vmName)
    {
        var key = SHA256.HashData(Encoding.UTF8.GetBytes($"{source}\0{vmName}"));
        return new RunFolder(Path.Combine(Root, RunsFolder, Convert.ToHexStringLower(key.AsSpan(0, 16))));
    }

    /// <summary>The folder of a domain; its state is another than that of runs into a repository.</summary>
    /// <param name="domain">What identifies the domain from one command to the next.</param>
    public string DomainFolderOf(string domain)
    {
        var key = SHA256.HashData(Encoding.UTF8.GetBytes(domain));
        return Path.Combine(Root, DomainsFolder, Convert.ToHexStringLower(key.AsSpan(0, 16)));
    }

    /// <summary>The folders of all domains.</summary>
    internal IEnumerable<string> DomainFolders()
    {
        var domains = Path.Combine(Root, DomainsFolder);
        return Directory.Exists(domains) ? Directory.EnumerateDirectories(domains) : [];
    }

    /// <summary>All folders that hold a journal.</summary>
    public IReadOnlyList<RunFolder> FoldersWithJournals()
    {
        var runs = Path.Combine(Root, RunsFolder);
        return Directory.Exists(runs)
            ? [.. Directory.EnumerateDirectories(runs).Select(path => new RunFolder(path))
                .Where(folder => File.Exists(folder.JournalPath)).OrderBy(folder => folder.Path,
                    StringComparer.Ordinal)]
            : [];
    }

    /// <summary>Makes the entries of a directory durable.</summary>
    internal static void FlushDirectory(string path)
    {
        using var handle = OpenDirectory(path);
        if (handle.IsInvalid || SyncFile(handle) != 0)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"could not flush the directory '{path}': {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    private static SafeFileHandle OpenDirectory(string path)
    {
        const int ReadOnlyCloseOnExec = 0x80000;
        return new SafeFileHandle(Open(path, ReadOnlyCloseOnExec), ownsHandle: true);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int SyncFile(SafeFileHandle file);
}
