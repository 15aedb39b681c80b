using Tidemark.Repository.Backends;

namespace Tidemark.Repository.Tests;

/// <summary>
/// A backend that dies at its n-th change, before or after the change happens, and fails everything from then on: what
/// a process that is killed, or a storage that goes away, looks like. Or it fails once and goes on.
/// </summary>
internal sealed class FaultyBackend(IBackend inner, int failAt, bool after, RepositoryErrorKind kind, bool once = false)
    : IBackend
{
    private int _changes;
    private volatile bool _dead;

    public string Location => inner.Location;

    /// <summary>Whether the failure came to pass.</summary>
    internal bool IsDead => _dead;

    public ValueTask CreateAsync(CancellationToken cancellationToken = default) => inner.CreateAsync(cancellationToken);

    public async ValueTask<bool> PutAsync(
        BackendFileKind kind, string name, ReadOnlyMemory<byte> content, CancellationToken cancellationToken = default)
    {
        var last = Count();
        var done = await inner.PutAsync(kind, name, content, cancellationToken);
        return last ? throw Error() : done;
    }

    public ValueTask<long?> GetLengthAsync(
        BackendFileKind kind, string name, CancellationToken cancellationToken = default)
    {
        ThrowIfDead();
        return inner.GetLengthAsync(kind, name, cancellationToken);
    }

    public ValueTask GetAsync(
        BackendFileKind kind,
        string name,
        long offset,
        Memory<byte> target,
        CancellationToken cancellationToken = default)
    {
        ThrowIfDead();
        return inner.GetAsync(kind, name, offset, target, cancellationToken);
    }

    public ValueTask<IReadOnlyList<BackendFile>> ListAsync(
        BackendFileKind kind, CancellationToken cancellationToken = default)
    {
        ThrowIfDead();
        return inner.ListAsync(kind, cancellationToken);
    }

    public async ValueTask DeleteAsync(
        BackendFileKind kind, string name, CancellationToken cancellationToken = default)
    {
        var last = Count();
        await inner.DeleteAsync(kind, name, cancellationToken);
        if (last)
        {
            throw Error();
        }
    }

    public ValueTask RemoveLeftoversAsync(CancellationToken cancellationToken = default)
    {
        ThrowIfDead();
        return inner.RemoveLeftoversAsync(cancellationToken);
    }

    // True: the change is to happen, and to be reported as a failure.
    private bool Count()
    {
        ThrowIfDead();
        var change = Interlocked.Increment(ref _changes);
        if (change < failAt || (once && change > failAt))
        {
            return false;
        }

        _dead = !once;
        return after ? true : throw Error();
    }

    private void ThrowIfDead()
    {
        if (_dead)
        {
            throw Error();
        }
    }

    private RepositoryException Error() => new(kind, "the storage of this test failed");
}
