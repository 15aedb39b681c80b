using System.Text.Json;
using Tidemark.Qmp;

namespace Tidemark.Engine.Daemon;

/// <summary>The command line of the storage daemon, read but not carried out: the options of
/// qemu-storage-daemon.</summary>
public sealed record StorageDaemonOptions
{
    private static readonly string[] s_withValue =
        ["blockdev", "chardev", "monitor", "nbd-server", "export", "pidfile", "object", "trace"];

    /// <summary>Whether only the help is wanted.</summary>
    public bool Help { get; init; }

    /// <summary>Whether only the version is wanted.</summary>
    public bool Version { get; init; }

    /// <summary>Where the process id is written once everything is set up, or null.</summary>
    public string? PidFile { get; init; }

    /// <summary>What is to be set up, in the order in which it was given: an option's name and its text.</summary>
    public IReadOnlyList<(string Option, string Text)> Steps { get; init; } = [];

    /// <summary>Reads the arguments.</summary>
    /// <exception cref="StorageDaemonException">An option is unknown, lacks its value, or is not supported.</exception>
    public static StorageDaemonOptions Parse(IReadOnlyList<string> arguments)
    {
        List<(string, string)> steps = [];
        string? pidFile = null;
        for (var index = 0; index < arguments.Count; index++)
        {
            var (name, value) = Split(arguments[index]);
            switch (name)
            {
                case "help":
                    return new StorageDaemonOptions { Help = true };
                case "version":
                    return new StorageDaemonOptions { Version = true };
                case "daemonize":
                    throw new StorageDaemonException(
                        "--daemonize is not supported: run the daemon in the background (&, systemd) and use "
                        + "--pidfile");
                case "object" or "trace":
                    throw new StorageDaemonException($"--{name} is not supported");
            }

            if (!s_withValue.Contains(name))
            {
                throw new StorageDaemonException($"unknown option '{arguments[index]}'; --help lists what there is");
            }

            value ??= ++index < arguments.Count
                ? arguments[index]
                : throw new StorageDaemonException($"option '--{name}' needs a value");
            if (name == "pidfile")
            {
                pidFile = value;
            }
            else
            {
                steps.Add((name, value));
            }
        }

        return new StorageDaemonOptions { PidFile = pidFile, Steps = steps };
    }

    /// <summary>The option as the arguments of the command that does the same.</summary>
    internal static QmpArguments ToArguments(string text, string? impliedKey)
    {
        var value = KeyValueText.Parse(text, impliedKey);
        return value.ValueKind != JsonValueKind.Object
            ? throw new StorageDaemonException($"'{text}' is not an object")
            : KeyValueText.IsJson(text) ? QmpArguments.FromJson(value) : QmpArguments.FromText(value);
    }

    private static (string Name, string? Value) Split(string argument)
    {
        switch (argument)
        {
            case "-h":
                return ("help", null);
            case "-V":
                return ("version", null);
            case "-T":
                return ("trace", null);
        }

        if (!argument.StartsWith("--", StringComparison.Ordinal))
        {
            throw new StorageDaemonException($"Unexpected argument: {argument}");
        }

        var equals = argument.IndexOf('=', StringComparison.Ordinal);
        return equals < 0 ? (argument[2..], null) : (argument[2..equals], argument[(equals + 1)..]);
    }
}
