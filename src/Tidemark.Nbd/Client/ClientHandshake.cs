using System.Buffers.Binary;
using System.Text;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Tls;

namespace Tidemark.Nbd.Client;

/// <summary>
/// The client's side of the handshake: greeting, extended headers or structured replies, metadata contexts, and GO with
/// the block sizes; EXPORT_NAME where the server is older.
/// </summary>
/// <remarks>Blocking; runs on the connection's own thread.</remarks>
internal sealed class ClientHandshake
{
    private const int PaddingLength = 124;

    private readonly string _host;
    private readonly ReceiveBuffer _receiver;
    private readonly NbdClientOptions _settings;
    private readonly ClientOptions _options;
    private bool _fixedNewstyle;
    private bool _noZeroes;
    private bool _structured;
    private bool _extended;
    private bool _encrypted;

    /// <summary>Prepares a handshake.</summary>
    /// <param name="transport">The connection; belongs to the handshake, and with it to whoever takes over.</param>
    /// <param name="receiver">Receives from it.</param>
    /// <param name="settings">What is wanted.</param>
    /// <param name="host">The server's name, for its certificate.</param>
    internal ClientHandshake(
        NbdTransport transport, ReceiveBuffer receiver, NbdClientOptions settings, string host)
    {
        Transport = transport;
        _host = host;
        _receiver = receiver;
        _settings = settings;
        _options = new ClientOptions(transport, receiver);
    }

    /// <summary>The connection, which becomes another one with TLS.</summary>
    internal NbdTransport Transport { get; private set; }

    /// <summary>Reads the greeting and answers it, and agrees on the form of replies.</summary>
    internal void Greet()
    {
        if (_receiver.TakeUInt64() != NbdMagic.Greeting)
        {
            throw NbdException.Protocol("it does not greet as an NBD server does");
        }

        switch (_receiver.TakeUInt64())
        {
            case NbdMagic.Option:
                break;
            case NbdMagic.OldStyle:
                throw new NbdException(
                    BlockErrorKind.NotSupported, "the server speaks oldstyle NBD, which is not supported");
            default:
                throw NbdException.Protocol("its greeting is of an unknown kind");
        }

        var offered = (HandshakeFlags)_receiver.TakeUInt16();
        _fixedNewstyle = (offered & HandshakeFlags.FixedNewstyle) != 0;
        _noZeroes = (offered & HandshakeFlags.NoZeroes) != 0;
        Span<byte> flags = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(
            flags, (uint)(offered & (HandshakeFlags.FixedNewstyle | HandshakeFlags.NoZeroes)));
        Transport.Send(flags, default);
        if (_fixedNewstyle)
        {
            _options.Begin();
        }

        // First of all: whatever is agreed on before could be anybody's word.
        StartTls();
        if (_fixedNewstyle)
        {
            _extended = _settings.UseExtendedHeaders && AskAgreement(NbdOption.ExtendedHeaders);
            _structured = _extended || (_settings.UseStructuredReplies && AskAgreement(NbdOption.StructuredReply));
        }
    }

    /// <summary>Chooses the export and enters the transmission phase.</summary>
    internal NegotiatedExport Enter()
    {
        var name = _settings.ExportName;
        if (!_fixedNewstyle)
        {
            return EnterByName(name, new Dictionary<string, uint>());
        }

        var selected = _structured && _settings.MetaContexts.Count > 0
            ? SelectContexts(name, Expand(name, _settings.MetaContexts))
            : new Dictionary<string, uint>();
        if (TryAskInformation(NbdOption.Go, name) is { } information)
        {
            return information.ToExport(selected);
        }

        return _extended
            ? throw NbdException.Protocol("it agreed to extended headers, but does not know GO")
            : EnterByName(name, selected);
    }

    /// <summary>The server's exports.</summary>
    internal IReadOnlyList<NbdExportInfo> List()
    {
        if (!_fixedNewstyle)
        {
            throw new NbdException(
                BlockErrorKind.NotSupported, "the server does not speak fixed newstyle, so it has no list of exports");
        }

        List<NbdExportInfo> exports = [];
        var final = _options.Ask(NbdOption.List, [], reply =>
        {
            if (reply.Type != OptionReplyType.Server || reply.Data.Length < 4)
            {
                throw NbdException.Protocol($"{reply.Type} in answer to LIST");
            }

            var length = BinaryPrimitives.ReadUInt32BigEndian(reply.Data);
            if (length > reply.Data.Length - 4)
            {
                throw NbdException.Protocol("an export's name in LIST is longer than its reply");
            }

            exports.Add(new NbdExportInfo(
                Encoding.UTF8.GetString(reply.Data, 4, (int)length),
                Encoding.UTF8.GetString(reply.Data.AsSpan(4 + (int)length))));
        });
        if (final.IsError)
        {
            throw new NbdException(
                BlockErrorKind.NotSupported, $"the server refuses to list its exports: {final.Message}");
        }

        return exports;
    }

    /// <summary>What the server says of some exports, or of all when none is named.</summary>
    internal NbdServerDescription Describe(string? exportName)
    {
        List<NbdExportDescription> exports = [];
        var names = exportName is not null ? [new NbdExportInfo(exportName, "")] : List();
        foreach (var entry in names)
        {
            if (!_fixedNewstyle)
            {
                break;
            }

            var information = TryAskInformation(NbdOption.Info, entry.Name)
                ?? throw new NbdException(
                    BlockErrorKind.NotSupported, "the server does not know INFO: an export must be entered to see it");
            var contexts = _structured ? ListContexts(entry.Name, []) : [];
            exports.Add(information.ToDescription(entry, contexts));
        }

        return new NbdServerDescription
        {
            IsFixedNewstyle = _fixedNewstyle,
            IsEncrypted = _encrypted,
            HasStructuredReplies = _structured,
            HasExtendedHeaders = _extended,
            Exports = exports,
        };
    }

    /// <summary>Ends politely if an option may be sent, which the document demands where it can be done.</summary>
    internal void Abort()
    {
        if (!_options.IsBetweenOptions)
        {
            return;
        }

        try
        {
            _options.Send(NbdOption.Abort, []);
            Transport.EndSession();
        }
        catch (IOException)
        {
            // The server was faster.
        }
    }

    private void StartTls()
    {
        if (_settings.Tls is not { } tls || tls.Mode == NbdTlsMode.Disable)
        {
            return;
        }

        if (!_fixedNewstyle)
        {
            CannotEncrypt(tls, "it does not speak fixed newstyle");
            return;
        }

        var final = _options.Ask(
            NbdOption.StartTls, [], reply => throw NbdException.Protocol($"{reply.Type} in answer to STARTTLS"));
        ThrowIfShutDown(final);
        if (final.IsError)
        {
            CannotEncrypt(tls, final.Message);
            return;
        }

        // The server speaks next only after our first message of TLS. What is here already was put in on the way.
        _options.Suspend();
        if (!_receiver.Waiting.IsEmpty)
        {
            throw NbdException.Protocol(
                $"{_receiver.Waiting.Length} bytes followed its agreement to TLS unencrypted; "
                + "somebody may be tampering with the connection");
        }

        Transport = tls.Connect(Transport, _host);
        _encrypted = true;
        _receiver.Switch(Transport);
        _options.Switch(Transport);
        _options.Begin();
    }

    private static void CannotEncrypt(NbdClientTls tls, string why)
    {
        if (tls.Mode == NbdTlsMode.Require)
        {
            throw new NbdException(BlockErrorKind.NotSupported, $"TLS is required, and the server refuses it: {why}");
        }
    }

    private bool AskAgreement(NbdOption option)
    {
        var final = _options.Ask(
            option, [], reply => throw NbdException.Protocol($"{reply.Type} in answer to {option}"));
        ThrowIfShutDown(final);
        if (final.Type == OptionReplyType.ErrorTlsRequired)
        {
            throw new NbdException(
                BlockErrorKind.NotSupported, $"the server speaks TLS only, which was not asked for: {final.Message}");
        }

        return !final.IsError;
    }

    // A query that ends in a colon stands for whatever the server lists under it.
    private List<string> Expand(string exportName, IReadOnlyList<string> queries)
    {
        var names = queries.Where(query => !query.EndsWith(':')).ToList();
        if (names.Count < queries.Count)
        {
            names.AddRange(ListContexts(exportName, [.. queries.Where(query => query.EndsWith(':'))])
                .Where(name => !name.EndsWith(':')));
        }

        return [.. names.Distinct(StringComparer.Ordinal)];
    }

    private List<string> ListContexts(string exportName, IReadOnlyList<string> queries)
    {
        List<string> names = [];
        var final = _options.Ask(NbdOption.ListMetaContext, ClientOptions.Queries(exportName, queries), reply =>
            names.Add(ReadContext(NbdOption.ListMetaContext, reply).Name));
        ThrowIfShutDown(final);

        // What came before an error does not count.
        return final.IsError ? [] : names;
    }

    private Dictionary<string, uint> SelectContexts(string exportName, List<string> contexts)
    {
        Dictionary<string, uint> selected = new(StringComparer.Ordinal);
        if (contexts.Count == 0)
        {
            return selected;
        }

        const NbdOption option = NbdOption.SetMetaContext;
        var final = _options.Ask(option, ClientOptions.Queries(exportName, contexts), reply =>
        {
            var (id, name) = ReadContext(option, reply);
            if (selected.ContainsValue(id) || !contexts.Contains(name) || !selected.TryAdd(name, id))
            {
                throw NbdException.Protocol($"it selected the context '{name}' ({id}) twice, or without being asked");
            }
        });
        ThrowIfShutDown(final);
        if (final.IsError)
        {
            // Without contexts the export can still be read; what needs them says so when it is asked for.
            selected.Clear();
        }

        return selected;
    }

    private static (uint Id, string Name) ReadContext(NbdOption option, OptionReply reply) =>
        reply.Type == OptionReplyType.MetaContext && reply.Data.Length >= 4
            ? (BinaryPrimitives.ReadUInt32BigEndian(reply.Data), Encoding.UTF8.GetString(reply.Data.AsSpan(4)))
            : throw NbdException.Protocol($"{reply.Type} in answer to {option}");

    // Null when the server does not know the option.
    private ExportInformation? TryAskInformation(NbdOption option, string exportName)
    {
        var information = new ExportInformation(_structured, _extended);
        var final = _options.Ask(
            option,
            ClientOptions.InformationRequest(exportName, NbdInfo.BlockSize, NbdInfo.Description),
            reply => information.Add(option, reply));
        if (final.Type == OptionReplyType.ErrorUnsupported)
        {
            return null;
        }

        if (final.IsError)
        {
            throw Refused(exportName, final);
        }

        information.Check();
        return information;
    }

    private NegotiatedExport EnterByName(string exportName, IReadOnlyDictionary<string, uint> contexts)
    {
        _options.Send(NbdOption.ExportName, Encoding.UTF8.GetBytes(exportName));
        if (!_receiver.TryFill(1))
        {
            throw new NbdException(
                BlockErrorKind.NotFound, $"the server has no export '{exportName}', or does not give it to us");
        }

        var information = new ExportInformation(_structured, extended: false);
        information.AddExport(_receiver.Take(ExportInformation.ExportLength));
        if (!_noZeroes)
        {
            _receiver.Skip(PaddingLength);
        }

        return information.ToExport(contexts);
    }

    private static void ThrowIfShutDown(OptionReply final)
    {
        if (final.Type == OptionReplyType.ErrorShutdown)
        {
            throw new NbdException(BlockErrorKind.Io, $"the server is shutting down: {final.Message}");
        }
    }

    private static NbdException Refused(string exportName, OptionReply final)
    {
        var kind = final.Type switch
        {
            OptionReplyType.ErrorUnknown => BlockErrorKind.NotFound,
            OptionReplyType.ErrorTlsRequired => BlockErrorKind.NotSupported,
            OptionReplyType.ErrorShutdown => BlockErrorKind.Io,
            _ => BlockErrorKind.Invalid,
        };
        var hint = final.Type == OptionReplyType.ErrorTlsRequired ? "; it wants TLS, which was not asked for" : "";
        return new NbdException(kind, $"the server refuses the export '{exportName}': {final.Message}{hint}");
    }
}
