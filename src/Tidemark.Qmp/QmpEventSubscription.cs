using System.Threading.Channels;

namespace Tidemark.Qmp;

/// <summary>Events from the moment of subscription on, in their order. Disposal ends the collecting.</summary>
public sealed class QmpEventSubscription : IDisposable
{
    /// <summary>How many unread events are kept; the oldest is dropped beyond it. Who must not miss a state polls
    /// too.</summary>
    public const int MaximumUnread = 65536;

    private readonly Channel<QmpEvent> _events = Channel.CreateBounded<QmpEvent>(
        new BoundedChannelOptions(MaximumUnread) { FullMode = BoundedChannelFullMode.DropOldest, SingleWriter = true });

    private readonly Action<QmpEventSubscription> _remove;

    /// <summary>Creates a subscription for a monitor.</summary>
    /// <param name="remove">Called once, at disposal: the monitor forgets the subscription.</param>
    public QmpEventSubscription(Action<QmpEventSubscription> remove) => _remove = remove;

    /// <summary>The events; completes when the monitor closes.</summary>
    public ChannelReader<QmpEvent> Events => _events.Reader;

    /// <summary>Gives an event to the reader; called by the monitor only.</summary>
    public void Publish(QmpEvent value) => _events.Writer.TryWrite(value);

    /// <summary>Says that no more events come; called by the monitor only.</summary>
    public void Complete() => _events.Writer.TryComplete();

    /// <inheritdoc/>
    public void Dispose()
    {
        _remove(this);
        Complete();
    }
}
