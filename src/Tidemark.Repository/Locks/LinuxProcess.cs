using System.Runtime.InteropServices;

namespace Tidemark.Repository.Locks;

/// <summary>Who we are, and who is alive.</summary>
internal static partial class LinuxProcess
{
    private const int ESRCH = 3;

    internal static uint UserId => EffectiveUserId();

    internal static uint GroupId => EffectiveGroupId();

    /// <summary>Whether a process of this machine is gone for certain.</summary>
    internal static bool IsDead(int processId) =>
        processId > 0 && Signal(processId, 0) != 0 && Marshal.GetLastPInvokeError() == ESRCH;

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Signal(int processId, int signal);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint EffectiveUserId();

    [LibraryImport("libc", EntryPoint = "getegid")]
    private static partial uint EffectiveGroupId();
}
