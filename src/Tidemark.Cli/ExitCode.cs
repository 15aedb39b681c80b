namespace Tidemark.Cli;

/// <summary>How the program ends.</summary>
internal static class ExitCode
{
    /// <summary>All of it worked.</summary>
    public const int Success = 0;

    /// <summary>Something failed, or was stopped; standard error says what.</summary>
    public const int Failure = 1;

    /// <summary>The command line was wrong; nothing was begun.</summary>
    public const int Usage = 2;
}
