using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>One of a node's connections, replaced when it is lost.</summary>
/// <remarks>Thread-safe. However many requests find the connection lost, one attempt to replace it is under way, and
/// all of them wait for it.</remarks>
internal sealed class NodeConnection(
    NbdClient first, Func<CancellationToken, Task<NbdClient>> connect, NbdReconnectPolicy? policy, TimeProvider time)
    : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _closing = new();
    private volatile NbdClient _client = first;
    private Task<NbdClient>? _replacing;

    /// <summary>Called before anybody can use a new connection.</summary>
    internal Action? Replacing { get; set; }

    /// <summary>The connection, lost or not.</summary>
    internal NbdClient Client => _client;

    /// <summary>A connection that works, as far as is known.</summary>
    /// <exception cref="NbdException">It is lost and could not be replaced within the policy's limit, or there is no
    /// policy.</exception>
    internal ValueTask<NbdClient> GetAsync(CancellationToken cancellationToken)
    {
        var client = _client;
        return client.Failure is null || policy is null
            ? new ValueTask<NbdClient>(client)
            : new ValueTask<NbdClient>(ReplaceAsync(client).WaitAsync(cancellationToken));
    }

    public async ValueTask DisposeAsync()
    {
        await _closing.CancelAsync().ConfigureAwait(false);
        Task<NbdClient>? replacing;
        lock (_gate)
        {
            replacing = _replacing;
        }

        if (replacing is not null)
        {
            await Task.WhenAny(replacing).ConfigureAwait(false);
        }

        await _client.DisposeAsync().ConfigureAwait(false);
        _closing.Dispose();
    }

    private Task<NbdClient> ReplaceAsync(NbdClient lost)
    {
        lock (_gate)
        {
            if (!ReferenceEquals(_client, lost))
            {
                return Task.FromResult(_client);
            }

            if (_replacing is null or { IsCompleted: true })
            {
                _replacing = RunReplaceAsync(lost);
            }

            return _replacing;
        }
    }

    private async Task<NbdClient> RunReplaceAsync(NbdClient lost)
    {
        await Task.Yield();

        // Nothing may be under way on the old connection when the new one begins: see NbdNode.
        await lost.Ended.ConfigureAwait(false);
        var began = time.GetTimestamp();
        var pause = policy!.FirstPause;
        while (true)
        {
            try
            {
                var client = await connect(_closing.Token).ConfigureAwait(false);
                try
                {
                    CheckSame(lost, client);
                }
                catch
                {
                    await client.DisposeAsync().ConfigureAwait(false);
                    throw;
                }

                Replacing?.Invoke();
                _client = client;
                return client;
            }
            catch (NbdException exception)
            {
                if (time.GetElapsedTime(began) + pause > policy.Limit || exception.Kind == BlockErrorKind.Invalid)
                {
                    throw new NbdException(
                        exception.Kind,
                        $"the connection is lost ({lost.Failure?.Message}) and could not be made again within "
                        + $"{policy.Limit.TotalSeconds} s: {exception.Message}",
                        exception);
                }
            }

            await Task.Delay(pause, time, _closing.Token).ConfigureAwait(false);
            pause = pause * 2 < policy.LongestPause ? pause * 2 : policy.LongestPause;
        }
    }

    // An export of another size or kind is another disk: going on with it would mix two.
    private static void CheckSame(NbdClient lost, NbdClient found)
    {
        if (found.Length != lost.Length || found.Flags != lost.Flags
            || found.MinimumBlockSize > lost.MinimumBlockSize || found.MaximumPayload < lost.MaximumPayload
            || lost.MetaContexts.Except(found.MetaContexts).Any())
        {
            throw new NbdException(
                BlockErrorKind.Invalid,
                $"the server offers another export than before: {found.Length} bytes, {found.Flags}; "
                + $"it was {lost.Length} bytes, {lost.Flags}");
        }
    }
}
