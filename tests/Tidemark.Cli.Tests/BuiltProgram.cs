namespace Tidemark.Cli.Tests;

/// <summary>The programs that the build leaves beside these tests.</summary>
internal static class BuiltProgram
{
    /// <summary>The ordinary build.</summary>
    public static string Path { get; } = System.IO.Path.GetFullPath(System.IO.Path.Combine(
        AppContext.BaseDirectory, "..", "..", "Tidemark.Cli",
        System.IO.Path.GetFileName(System.IO.Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "tidemark"));

    /// <summary>The one compiled ahead of time, where <c>./publish</c> puts it; it need
    /// not be there.</summary>
    public static string Native { get; } = System.IO.Path.GetFullPath(
        System.IO.Path.Combine(AppContext.BaseDirectory, "..", "..", "..", "native", "tidemark"));
}
