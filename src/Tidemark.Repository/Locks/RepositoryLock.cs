using System.Runtime.InteropServices;
using Tidemark.Repository.Backends;
using Tidemark.Repository.Packs;

namespace Tidemark.Repository.Locks;

// The protocol is restic's (doc/design.rst, "Locks"): look at all locks; write ours; wait; look again. Whoever finds a
// lock that excludes its own takes its own back and fails. Locks that are stale are removed on the way.
//
// A lock is held by being young: it is written anew every five minutes, and one of thirty minutes counts for nothing.
// So a holder that could not refresh for 25 minutes must stop, and so must one whose file was removed by somebody else:
// a prune may have deleted what it relies on. EnsureHeldAsync says so, and is asked before every commit.
//
// restic finds out whether a lock's process is alive by sending it SIGHUP, which would end us; so, like restic, we
// ignore SIGHUP while we hold a lock.

/// <summary>A non-exclusive lock on a repository, held until disposal. While it stands, nobody prunes.</summary>
public sealed class RepositoryLock : IAsyncDisposable
{
    private static readonly TimeSpan s_refreshEvery = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan s_lostAfter = LockContent.StaleAfter - TimeSpan.FromMinutes(5);

    private readonly IBackend _backend;
    private readonly FileStore _files;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _gate = new(1);
    private readonly PosixSignalRegistration _hangUp;
    private readonly Task _refreshing;

    // Guarded by _gate.
    private string _name;
    private DateTimeOffset _since;

    private RepositoryLock(
        IBackend backend,
        FileStore files,
        TimeProvider time,
        PosixSignalRegistration hangUp,
        string name,
        DateTimeOffset since,
        bool isAlone)
    {
        _backend = backend;
        _files = files;
        _time = time;
        _name = name;
        _since = since;
        IsAlone = isAlone;
        _hangUp = hangUp;
        _refreshing = RunRefreshAsync();
    }

    /// <summary>Whether no other lock stood when this one was taken: nobody else was writing.</summary>
    internal bool IsAlone { get; }

    /// <summary>Throws unless the lock is held for certain.</summary>
    /// <exception cref="RepositoryException">The lock was removed, or could not be refreshed for too long.</exception>
    internal async Task EnsureHeldAsync(CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var length = await _backend.GetLengthAsync(BackendFileKind.Lock, _name, cancellationToken)
                .ConfigureAwait(false);
            if (length is null || _time.GetUtcNow() - _since > s_lostAfter)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.LockLost,
                    $"our lock on the repository at '{_backend.Location}' "
                    + (length is null ? "was removed" : $"could not be refreshed since {_since:u}")
                    + ": another program may have pruned what this run relies on. Nothing was committed; run again");
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Takes a lock.</summary>
    /// <exception cref="RepositoryException">Somebody holds an exclusive one.</exception>
    internal static async Task<RepositoryLock> AcquireAsync(
        IBackend backend, FileStore files, RepositoryOptions options, CancellationToken cancellationToken)
    {
        var time = options.TimeProvider;
        await CheckOthersAsync(backend, files, time, null, cancellationToken).ConfigureAwait(false);
        var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, static context => context.Cancel = true);
        string? name = null;
        try
        {
            var since = time.GetUtcNow();
            name = await WriteAsync(files, since, cancellationToken).ConfigureAwait(false);
            await Task.Delay(options.LockSettleTime, time, cancellationToken).ConfigureAwait(false);
            var others = await CheckOthersAsync(backend, files, time, name, cancellationToken).ConfigureAwait(false);
            return new RepositoryLock(backend, files, time, hangUp, name, since, others == 0);
        }
        catch
        {
            await RemoveAsync(backend, name).ConfigureAwait(false);
            hangUp.Dispose();
            throw;
        }
    }

    /// <summary>Gives the lock back. Does not throw: a lock that cannot be removed grows stale.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _refreshing.ConfigureAwait(false);
        await RemoveAsync(_backend, _name).ConfigureAwait(false);
        _hangUp.Dispose();
        _stop.Dispose();
        _gate.Dispose();
    }

    private static async Task<string> WriteAsync(
        FileStore files, DateTimeOffset now, CancellationToken cancellationToken)
    {
        var content = new LockContent(now, false, Environment.MachineName, Environment.UserName, Environment.ProcessId);
        var id = await files.PutJsonAsync(BackendFileKind.Lock, content.Encode(), cancellationToken)
            .ConfigureAwait(false);
        return id.ToString();
    }

    private static async Task RemoveAsync(IBackend backend, string? name)
    {
        try
        {
            if (name is not null)
            {
                await backend.DeleteAsync(BackendFileKind.Lock, name, CancellationToken.None).ConfigureAwait(false);
            }
        }
        catch (RepositoryException)
        {
            // The storage is gone; the first error, which somebody else reports, says so. The lock grows stale.
        }
    }

    // Returns how many other locks stand; throws if one excludes us.
    private static async Task<int> CheckOthersAsync(
        IBackend backend, FileStore files, TimeProvider time, string? own, CancellationToken cancellationToken)
    {
        var count = 0;
        foreach (var file in await backend.ListAsync(BackendFileKind.Lock, cancellationToken).ConfigureAwait(false))
        {
            if (file.Name == own)
            {
                continue;
            }

            LockContent other;
            try
            {
                var json = await files.GetJsonAsync(BackendFileKind.Lock, file.Name, cancellationToken)
                    .ConfigureAwait(false);
                other = LockContent.Decode(json, files.Describe(BackendFileKind.Lock, file.Name));
            }
            catch (RepositoryException exception) when (exception.Kind == RepositoryErrorKind.NotFound)
            {
                continue;
            }

            if (other.IsStale(time.GetUtcNow(), Environment.MachineName))
            {
                await backend.DeleteAsync(BackendFileKind.Lock, file.Name, cancellationToken).ConfigureAwait(false);
                continue;
            }

            count++;
            if (other.Exclusive)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.Locked,
                    $"the repository at '{backend.Location}' is locked exclusively by process {other.ProcessId} of "
                    + $"{other.UserName} on {other.HostName} since {other.Time:u}: a prune may be running. Try "
                    + "again when it "
                    + "has ended; if it is dead, run: restic unlock");
            }
        }

        return count;
    }

    private async Task RunRefreshAsync()
    {
        while (true)
        {
            try
            {
                await Task.Delay(s_refreshEvery, _time, _stop.Token).ConfigureAwait(false);
                await RefreshAsync(_stop.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (RepositoryException)
            {
                // Tried again in five minutes; EnsureHeldAsync fails when it has failed for too long.
            }
        }
    }

    private async Task RefreshAsync(CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            // A lock that somebody removed is lost: a new one would hide that there was a gap.
            if (await _backend.GetLengthAsync(BackendFileKind.Lock, _name, cancellationToken)
                .ConfigureAwait(false) is null)
            {
                return;
            }

            var now = _time.GetUtcNow();
            var old = _name;
            _name = await WriteAsync(_files, now, cancellationToken).ConfigureAwait(false);
            _since = now;
            await _backend.DeleteAsync(BackendFileKind.Lock, old, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }
}
