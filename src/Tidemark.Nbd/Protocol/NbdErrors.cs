using Tidemark.Blocks.Nodes;

namespace Tidemark.Nbd.Protocol;

/// <summary>Translates between the block layer's kinds of error and the protocol's.</summary>
internal static class NbdErrors
{
    /// <summary>What a server says of a failure of its node.</summary>
    internal static NbdError FromKind(BlockErrorKind kind) => kind switch
    {
        BlockErrorKind.NoSpace => NbdError.ENOSPC,
        BlockErrorKind.ReadOnly => NbdError.EPERM,
        BlockErrorKind.OutOfRange or BlockErrorKind.Invalid or BlockErrorKind.NotFound => NbdError.EINVAL,
        BlockErrorKind.NotSupported => NbdError.EINVAL,
        BlockErrorKind.Io => NbdError.EIO,
        _ => NbdError.EIO,
    };

    /// <summary>What a client's caller is told. An unexpected value counts as EINVAL, as the document asks.</summary>
    internal static BlockErrorKind ToKind(NbdError error) => error switch
    {
        NbdError.EPERM => BlockErrorKind.ReadOnly,
        NbdError.ENOSPC => BlockErrorKind.NoSpace,
        NbdError.ENOTSUP => BlockErrorKind.NotSupported,
        NbdError.EOVERFLOW => BlockErrorKind.OutOfRange,
        NbdError.EIO or NbdError.ENOMEM or NbdError.ESHUTDOWN => BlockErrorKind.Io,
        _ => BlockErrorKind.Invalid,
    };
}
