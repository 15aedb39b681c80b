using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>A transport as the stream that SslStream wants. Every call blocks, the asynchronous ones too: SslStream
/// makes them only from our own blocking calls.</summary>
internal sealed class TransportStream(NbdTransport transport) : Stream
{
    public override bool CanRead => true;

    public override bool CanWrite => true;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>From here on what does not leave at once is dropped: the session's last words must not block.</summary>
    internal bool IsLeaving { get; set; }

    public override int Read(Span<byte> buffer) => transport.Receive(buffer);

    public override int Read(byte[] buffer, int offset, int count) => transport.Receive(buffer.AsSpan(offset, count));

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        new(transport.Receive(buffer.Span));

    public override Task<int> ReadAsync(
        byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        Task.FromResult(transport.Receive(buffer.AsSpan(offset, count)));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (IsLeaving)
        {
            transport.TrySend(buffer);
        }
        else
        {
            transport.Send(buffer, default);
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Write(buffer.Span);
        return default;
    }

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
    {
        Write(buffer.AsSpan(offset, count));
        return Task.CompletedTask;
    }

    public override void Flush()
    {
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
