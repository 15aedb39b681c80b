using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server.Options;
using Tidemark.Nbd.Tls;

namespace Tidemark.Nbd.Server;

/// <summary>
/// The server's side of the handshake ("Fixed newstyle negotiation"): the greeting, then option after option until one
/// enters the transmission phase or the connection ends. Each option has a file of its own in Options.
/// </summary>
/// <remarks>Runs on the connection's first thread. What may take long is bounded from outside: the connection sets a
/// deadline for the whole handshake.</remarks>
internal sealed class ServerHandshake
{
    private const int GreetingLength = 18;

    private NbdTransport _transport;
    private readonly ReceiveBuffer _receiver;
    private readonly ServerConnection _connection;
    private NbdExport? _selectedFor;
    private IReadOnlyList<ExportContext> _selected = [];
    private bool _fixedNewstyle;

    internal ServerHandshake(
        NbdServer server, ServerConnection connection, NbdTransport transport, ReceiveBuffer receiver)
    {
        Server = server;
        _connection = connection;
        _transport = transport;
        _receiver = receiver;
    }

    /// <summary>The server, for its exports.</summary>
    internal NbdServer Server { get; }

    /// <summary>Whether the connection is encrypted.</summary>
    internal bool IsEncrypted { get; private set; }

    /// <summary>Whether the client has sent more than the option that is being handled.</summary>
    internal bool HasBytesWaiting => !_receiver.Waiting.IsEmpty;

    /// <summary>Whether the client does without the padding of EXPORT_NAME's answer.</summary>
    internal bool NoZeroes { get; private set; }

    /// <summary>Whether structured replies were negotiated.</summary>
    internal bool StructuredReplies { get; set; }

    /// <summary>Whether extended headers were negotiated; structured replies come with them.</summary>
    internal bool ExtendedHeaders { get; set; }

    /// <summary>The export that was chosen; null until then.</summary>
    internal NbdExport? Export { get; private set; }

    /// <summary>The contexts selected for the chosen export; none when they were selected for another.</summary>
    internal IReadOnlyList<ExportContext> SelectedContexts => ReferenceEquals(_selectedFor, Export) ? _selected : [];

    /// <summary>Runs the handshake.</summary>
    /// <returns>Whether the transmission phase follows.</returns>
    /// <exception cref="IOException">The client left.</exception>
    internal bool Run()
    {
        Span<byte> greeting = stackalloc byte[GreetingLength];
        BinaryPrimitives.WriteUInt64BigEndian(greeting, NbdMagic.Greeting);
        BinaryPrimitives.WriteUInt64BigEndian(greeting[8..], NbdMagic.Option);
        const HandshakeFlags offered = HandshakeFlags.FixedNewstyle | HandshakeFlags.NoZeroes;
        BinaryPrimitives.WriteUInt16BigEndian(greeting[16..], (ushort)offered);
        Send(greeting);

        var flags = _receiver.TakeUInt32();
        if ((flags & ~(uint)offered) != 0)
        {
            return false;
        }

        _fixedNewstyle = (flags & (uint)HandshakeFlags.FixedNewstyle) != 0;
        NoZeroes = (flags & (uint)HandshakeFlags.NoZeroes) != 0;
        for (var count = 0; count < NbdLimits.MaximumOptions; count++)
        {
            switch (NextOption())
            {
                case HandshakeStep.Transmission:
                    return true;
                case HandshakeStep.End:
                    return false;
            }
        }

        return false;
    }

    /// <summary>What is said of an export to this client.</summary>
    internal NbdTransmissionFlags FlagsOf(NbdExport export)
    {
        var flags = export.Flags(
            StructuredReplies,
            mayFilterContexts: ExtendedHeaders && ReferenceEquals(_selectedFor, export) && _selected.Count > 0);

        // A client that opened a second connection would wait until it closes the first.
        return Server.Options.MaximumConnections > 1 ? flags : flags & ~NbdTransmissionFlags.CanMultiConnection;
    }

    /// <summary>Remembers which contexts were selected, for which export.</summary>
    internal void Select(NbdExport? export, IReadOnlyList<ExportContext> contexts)
    {
        _selectedFor = export;
        _selected = contexts;
    }

    /// <summary>Chooses the export; false when it is being removed.</summary>
    internal bool TryChoose(NbdExport export)
    {
        if (!_connection.TryAttach(export))
        {
            return false;
        }

        Export = export;
        return true;
    }

    /// <summary>Goes on over TLS. What was agreed on before could have been anybody's word: it is forgotten.</summary>
    /// <exception cref="NbdException">The client cannot, or is not to be trusted.</exception>
    internal void Encrypt(NbdServerTls tls)
    {
        var transport = tls.Accept(_transport);
        _transport = transport;
        _connection.Switch(transport);
        _receiver.Switch(transport);
        IsEncrypted = true;
        StructuredReplies = false;
        ExtendedHeaders = false;
        Select(null, []);
    }

    /// <summary>Sends raw bytes.</summary>
    internal void Send(ReadOnlySpan<byte> bytes) => _transport.Send(bytes, default);

    /// <summary>Sends a reply to an option.</summary>
    internal void Reply(NbdOption option, OptionReplyType type, ReadOnlySpan<byte> data)
    {
        Span<byte> header = stackalloc byte[OptionReplyHeader.Size];
        new OptionReplyHeader(option, type, (uint)data.Length).Write(header);
        _transport.Send(header, data);
    }

    /// <summary>Sends the reply of success.</summary>
    internal HandshakeStep Acknowledge(NbdOption option)
    {
        Reply(option, OptionReplyType.Ack, default);
        return HandshakeStep.NextOption;
    }

    /// <summary>Sends an error with words for people.</summary>
    internal HandshakeStep Refuse(NbdOption option, OptionReplyType error, string message)
    {
        Reply(option, error, Encoding.UTF8.GetBytes(message));
        return HandshakeStep.NextOption;
    }

    // EXPORT_NAME has no way to say it.
    private HandshakeStep DemandTls(in OptionHeader header)
    {
        if (header.Option == NbdOption.ExportName || header.Length > NbdLimits.MaximumOptionSkip)
        {
            return HandshakeStep.End;
        }

        _receiver.Skip(header.Length);
        return Refuse(header.Option, OptionReplyType.ErrorTlsRequired, "this server speaks TLS only: send STARTTLS");
    }

    private HandshakeStep NextOption()
    {
        if (!_receiver.TryFill(OptionHeader.Size)
            || !OptionHeader.TryRead(_receiver.Take(OptionHeader.Size), out var header))
        {
            return HandshakeStep.End;
        }

        // Without fixed newstyle the only option is EXPORT_NAME, and there is no way to answer any other.
        if (!_fixedNewstyle && header.Option != NbdOption.ExportName)
        {
            return HandshakeStep.End;
        }

        if (Server.Options.Tls?.Mode == NbdTlsMode.Require && !IsEncrypted
            && header.Option is not (NbdOption.StartTls or NbdOption.Abort))
        {
            return DemandTls(header);
        }

        if (header.Length > NbdLimits.MaximumOptionLength)
        {
            if (header.Length > NbdLimits.MaximumOptionSkip || header.Option == NbdOption.ExportName)
            {
                return HandshakeStep.End;
            }

            _receiver.Skip(header.Length);
            return Refuse(
                header.Option,
                OptionReplyType.ErrorTooBig,
                $"an option may have {NbdLimits.MaximumOptionLength} bytes of data, not {header.Length}");
        }

        var data = header.Length == 0 ? [] : new byte[header.Length];
        _receiver.CopyTo(data);
        if (Server.IsStopping && header.Option is not (NbdOption.Abort or NbdOption.ExportName))
        {
            return Refuse(header.Option, OptionReplyType.ErrorShutdown, "the server is shutting down");
        }

        return header.Option switch
        {
            NbdOption.ExportName => ExportNameOption.Handle(this, data),
            NbdOption.Abort => AbortOption.Handle(this),
            NbdOption.List => ListOption.Handle(this, data),
            NbdOption.StartTls => StartTlsOption.Handle(this, data),
            NbdOption.Info or NbdOption.Go => InfoOption.Handle(this, header.Option, data),
            NbdOption.StructuredReply => StructuredReplyOption.Handle(this, data),
            NbdOption.ListMetaContext => ListMetaContextOption.Handle(this, data),
            NbdOption.SetMetaContext => SetMetaContextOption.Handle(this, data),
            NbdOption.ExtendedHeaders => ExtendedHeadersOption.Handle(this, data),
            _ => Refuse(header.Option, OptionReplyType.ErrorUnsupported, $"option {(uint)header.Option} is not known"),
        };
    }
}
