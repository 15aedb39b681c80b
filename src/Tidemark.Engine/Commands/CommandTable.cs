using System.Text.Json.Nodes;
using Tidemark.Blocks.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Commands;

/// <summary>The commands of an engine by their names.</summary>
internal sealed class CommandTable
{
    private readonly Dictionary<string, Handler> _handlers = new(StringComparer.Ordinal);

    /// <summary>Carries one command out. It reads its arguments, refuses what is left of them, and only then
    /// acts.</summary>
    internal delegate ValueTask<JsonNode> Handler(QmpArguments arguments, CancellationToken cancellationToken);

    /// <summary>The names, in the order in which they were added.</summary>
    internal IReadOnlyCollection<string> Names => _handlers.Keys;

    /// <summary>Adds a command with a value.</summary>
    internal void Add(string name, Handler handler) => _handlers.Add(name, handler);

    /// <summary>Adds a command that returns nothing.</summary>
    internal void Add(string name, Func<QmpArguments, CancellationToken, ValueTask> handler) =>
        _handlers.Add(name, async (arguments, token) =>
        {
            await handler(arguments, token).ConfigureAwait(false);
            return new JsonObject();
        });

    /// <summary>Adds a command that neither returns nor waits.</summary>
    internal void Add(string name, Action<QmpArguments> handler) => _handlers.Add(name, (arguments, _) =>
    {
        handler(arguments);
        return ValueTask.FromResult<JsonNode>(new JsonObject());
    });

    /// <summary>Whether there is such a command.</summary>
    internal bool Contains(string name) => _handlers.ContainsKey(name);

    /// <summary>Carries a command out; every failure comes as a <see cref="QmpException"/>.</summary>
    internal async Task<JsonNode> ExecuteAsync(string name, QmpArguments arguments, CancellationToken cancellationToken)
    {
        try
        {
            return await _handlers[name](arguments, cancellationToken).ConfigureAwait(false);
        }
        catch (QmpException)
        {
            throw;
        }
        catch (Exception exception) when (exception is BlockException or IOException or UnauthorizedAccessException)
        {
            throw new QmpException(QmpException.GenericError, exception.Message, null, exception);
        }
        catch (OperationCanceledException exception)
        {
            throw new QmpException(QmpException.GenericError, "the engine is shutting down", null, exception);
        }
        catch (Exception exception)
        {
            // A bug in one command must not take every disk and every other monitor down with it.
            throw new QmpException(
                QmpException.GenericError,
                $"internal error in {name}: {exception.GetType().Name}: {exception.Message}", null, exception);
        }
    }
}
