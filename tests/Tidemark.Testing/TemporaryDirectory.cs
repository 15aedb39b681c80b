namespace Tidemark.Testing;

/// <summary>A directory of a test's own, removed with everything in it at disposal.</summary>
public sealed class TemporaryDirectory : IDisposable
{
    private const string SharedMemory = "/dev/shm";
    private const long NeededMemory = 2L << 30;

    /// <summary>Creates a directory.</summary>
    /// <param name="inMemory">
    /// In memory if the machine has room there: for tests that sync so many files that a disk would make them slow.
    /// </param>
    public TemporaryDirectory(bool inMemory = false) =>
        Path = inMemory
            && Directory.Exists(SharedMemory)
            && new DriveInfo(SharedMemory).AvailableFreeSpace > NeededMemory
            ? Directory.CreateDirectory($"{SharedMemory}/tidemark-test-{Guid.NewGuid():N}").FullName
            : Directory.CreateTempSubdirectory("tidemark-test-").FullName;

    private bool _isKept;

    public string Path { get; }

    /// <summary>Leaves the directory there at disposal: for a failure that somebody must look at.</summary>
    public void Keep() => _isKept = true;

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose()
    {
        if (_isKept)
        {
            return;
        }

        try
        {
            Directory.Delete(Path, recursive: true);
        }
        catch (IOException)
        {
            // A process that is just ending may still create a file here; the next boot clears the rest.
        }
    }
}
