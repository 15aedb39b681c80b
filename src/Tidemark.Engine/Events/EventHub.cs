using System.Text.Json.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Events;

/// <summary>Sends each event to every session. Thread-safe.</summary>
internal sealed class EventHub : IEventSink
{
    private readonly Lock _gate = new();
    private readonly List<QmpServerSession> _sessions = [];

    /// <inheritdoc/>
    public void Emit(string name, JsonObject data)
    {
        lock (_gate)
        {
            foreach (var session in _sessions)
            {
                session.SendEvent(name, data);
            }
        }
    }

    internal void Add(QmpServerSession session)
    {
        lock (_gate)
        {
            _sessions.Add(session);
        }
    }

    internal void Remove(QmpServerSession session)
    {
        lock (_gate)
        {
            _sessions.Remove(session);
        }
    }
}
