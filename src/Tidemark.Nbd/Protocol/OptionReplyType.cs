namespace Tidemark.Nbd.Protocol;

/// <summary>The replies to an option ("Option reply types"). Errors have bit 31 set.</summary>
internal enum OptionReplyType : uint
{
    Ack = 1,
    Server = 2,
    Info = 3,
    MetaContext = 4,
    ErrorUnsupported = ErrorBit + 1,
    ErrorPolicy = ErrorBit + 2,
    ErrorInvalid = ErrorBit + 3,
    ErrorPlatform = ErrorBit + 4,
    ErrorTlsRequired = ErrorBit + 5,
    ErrorUnknown = ErrorBit + 6,
    ErrorShutdown = ErrorBit + 7,
    ErrorBlockSizeRequired = ErrorBit + 8,
    ErrorTooBig = ErrorBit + 9,
    ErrorExtendedHeadersRequired = ErrorBit + 10,
    ErrorBit = 1u << 31,
}
