namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>One thing that was done to one of the files.</summary>
/// <param name="File">Which file.</param>
/// <param name="Kind">What.</param>
/// <param name="Offset">Where; for a resize the new length.</param>
/// <param name="Data">What was written.</param>
internal sealed record CrashEvent(int File, FileEventKind Kind, long Offset, byte[] Data)
{
    /// <summary>Does it to a content.</summary>
    internal byte[] ApplyTo(byte[] content) => RecordingFile.Apply(content, new FileEvent(Kind, Offset, Data));
}
