namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>Files whose writes, flushes and changes of length are recorded in one order.</summary>
internal sealed class CrashDisk
{
    internal CrashDisk(params byte[][] contents) =>
        Files = [.. contents.Select((content, index) => new CrashFile(this, index, content))];

    internal CrashFile[] Files { get; }

    internal List<CrashEvent> Events { get; } = [];

    /// <summary>What the files held when recording began.</summary>
    internal byte[][] Initial { get; private set; } = [];

    /// <summary>Whether freed clusters keep their bytes: whoever names one too early finds garbage.</summary>
    internal bool IgnoresDiscards { get; init; }

    internal void StartRecording()
    {
        Initial = [.. Files.Select(file => (byte[])file.Content.Clone())];
        Events.Clear();
    }
}
