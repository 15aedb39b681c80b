namespace Tidemark.Backup.Domains;

/// <summary>
/// Notices that the client of a pull is gone: it was there, and nobody has been for a while. A client that has not come
/// yet is waited for.
/// </summary>
internal sealed class ClientWatch
{
    private readonly TimeSpan? _patience;
    private readonly TimeProvider _time;
    private long? _last;

    /// <summary>Creates a watch.</summary>
    /// <param name="patience">How long nobody may be connected; null to watch nothing.</param>
    /// <param name="time">The clock.</param>
    internal ClientWatch(TimeSpan? patience, TimeProvider time)
    {
        _patience = patience;
        _time = time;
    }

    /// <summary>Looks.</summary>
    /// <param name="clients">How many are connected; null when that cannot be seen.</param>
    /// <returns>Why the backup is to be given up; null while it is not.</returns>
    internal string? Look(int? clients)
    {
        if (clients > 0)
        {
            _last = _time.GetTimestamp();
        }

        return _patience is { } patience && clients == 0 && _last is { } last
            && _time.GetElapsedTime(last) >= patience
            ? $"the NBD client is gone: nobody has been connected for {patience.TotalSeconds:0.#} seconds"
            : null;
    }
}
