namespace Tidemark.Backup.Running;

/// <summary>How far a disk is.</summary>
/// <param name="Name">The disk.</param>
/// <param name="BytesDone">Bytes dealt with, by whatever means.</param>
/// <param name="BytesTotal">Bytes to deal with; zero before that is known.</param>
/// <param name="BytesRead">Bytes of data transferred.</param>
public sealed record DiskProgress(string Name, long BytesDone, long BytesTotal, long BytesRead);
