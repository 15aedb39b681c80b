using Tidemark.Testing;

namespace Tidemark.Cli.Tests;

// The script `./tidemark` in a tree of the test's own, with a `dotnet` that notes each build and "builds" a program
// that prints its arguments. What is judged is when the script builds, and that nothing but the program speaks on its
// outputs.

/// <summary>The script that starts the program.</summary>
public sealed class LauncherTests : IDisposable
{
    private const string OrdinaryBuild =
        """
        mkdir -p "$output"
        printf '#!/bin/sh\nprintf "%%s|" "$@"; exit 7\n' >"$output/tidemark"
        chmod +x "$output/tidemark"
        touch "$output/tidemark.dll"
        echo "noise of the build"
        """;

    private readonly TemporaryDirectory _directory = new();
    private readonly string _script;
    private readonly string _publish;
    private readonly string _builds;

    public LauncherTests()
    {
        _script = _directory.File("tree/tidemark");
        _builds = _directory.File("builds");
        Directory.CreateDirectory(_directory.File("tree/src/Tidemark.Cli"));
        Directory.CreateDirectory(_directory.File("sdk"));
        File.Copy(Path.Combine(RepositoryRoot.Path, "tidemark"), _script);
        _publish = _directory.File("tree/publish");
        File.Copy(Path.Combine(RepositoryRoot.Path, "publish"), _publish);
        foreach (var name in new[] { "Directory.Build.props", "Directory.Packages.props", "global.json",
            "src/Tidemark.Cli/A.cs" })
        {
            File.WriteAllText(_directory.File($"tree/{name}"), "");
        }

        WriteDotnet(OrdinaryBuild);
    }

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task The_first_start_builds_and_the_second_does_not()
    {
        var first = await StartAsync(_script, "a b", "--c=");
        var second = await StartAsync(_script, "", "d");

        Assert.Equal((7, "a b|--c=|"), (first.ExitCode, first.Output));
        Assert.Contains("building", first.Error);
        Assert.DoesNotContain("noise", first.Error);
        Assert.Equal((7, "|d|", ""), (second.ExitCode, second.Output, second.Error));
        Assert.Equal(1, BuildCount);
    }

    [Fact]
    public async Task A_source_that_is_changed_added_or_removed_brings_a_build()
    {
        await StartAsync(_script);
        File.AppendAllText(_directory.File("tree/src/Tidemark.Cli/A.cs"), "// changed");
        await StartAsync(_script);
        File.WriteAllText(_directory.File("tree/src/Tidemark.Cli/B.cs"), "");
        await StartAsync(_script);
        File.Delete(_directory.File("tree/src/Tidemark.Cli/B.cs"));
        await StartAsync(_script);
        File.SetLastWriteTimeUtc(
            _directory.File("tree/global.json"), new DateTime(2001, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        await StartAsync(_script);
        await StartAsync(_script);

        Assert.Equal(5, BuildCount);
    }

    [Fact]
    public async Task It_starts_through_symbolic_links_from_any_directory()
    {
        Directory.CreateDirectory(_directory.File("bin"));
        File.CreateSymbolicLink(_directory.File("bin/one"), "../tree/tidemark");
        File.CreateSymbolicLink(_directory.File("bin/two"), "one");

        var result = await StartAsync(_directory.File("bin/two"), "x");

        Assert.Equal((7, "x|"), (result.ExitCode, result.Output));
    }

    [Fact]
    public async Task Programs_that_start_together_build_once()
    {
        var results = await Task.WhenAll(Enumerable.Range(0, 6).Select(index => StartAsync(_script, $"{index}")));

        Assert.All(results, result => Assert.Equal(7, result.ExitCode));
        Assert.Equal("0|1|2|3|4|5|", string.Concat(results.Select(result => result.Output)));
        Assert.Equal(1, BuildCount);
    }

    [Fact]
    public async Task A_build_that_fails_shows_its_messages_and_does_not_run_the_old_program()
    {
        await StartAsync(_script);
        File.AppendAllText(_directory.File("tree/src/Tidemark.Cli/A.cs"), "// changed");
        WriteDotnet("echo 'A.cs(1,1): error CS0000: broken'; exit 1");

        var failed = await StartAsync(_script, "x");
        var again = await StartAsync(_script, "x");

        Assert.Equal((1, ""), (failed.ExitCode, failed.Output));
        Assert.Contains("error CS0000", failed.Error);
        Assert.Equal(1, again.ExitCode);
        Assert.Equal(3, BuildCount);
        Assert.Empty(Directory.GetFiles(_directory.File("tree/artifacts"), "tidemark-build*"));
    }

    [Fact]
    public async Task What_is_edited_during_a_build_is_built_at_the_next_start()
    {
        File.AppendAllText(_directory.File("sdk/dotnet"), "echo '//' >>\"$root/src/Tidemark.Cli/A.cs\"\n");
        await StartAsync(_script);
        await StartAsync(_script);
        Assert.Equal(2, BuildCount);
    }

    [Fact]
    public async Task The_native_program_is_run_while_no_source_is_newer_and_no_build_of_it_failed()
    {
        WriteDotnet(
            $"""
            if [ "$1" = publish ]; then
                mkdir -p "$8"
                printf '#!/bin/sh\nprintf "native|%%s|" "$@"; exit 8\n' >"$8/tidemark"
                chmod +x "$8/tidemark"
                exit
            fi
            {OrdinaryBuild}
            """);
        var published = await StartAsync(_publish);
        var again = await StartAsync(_publish);
        var native = await StartAsync(_script, "a b");

        Assert.Equal(
            (0, _directory.File("tree/artifacts/native/tidemark") + "\n"), (published.ExitCode, published.Output));
        Assert.Equal((0, ""), (again.ExitCode, again.Error));
        Assert.Equal((8, "native|a b|", ""), (native.ExitCode, native.Output, native.Error));
        Assert.Equal(1, BuildCount);

        File.AppendAllText(_directory.File("tree/src/Tidemark.Cli/A.cs"), "// changed");
        var ordinary = await StartAsync(_script, "c");
        Assert.Equal((7, "c|"), (ordinary.ExitCode, ordinary.Output));

        WriteDotnet("echo 'A.cs(1,1): error CS0000: broken'; exit 1");
        var failed = await StartAsync(_publish);
        Assert.Equal((1, ""), (failed.ExitCode, failed.Output));
        Assert.Contains("error CS0000", failed.Error);
        Assert.False(File.Exists(_directory.File("tree/artifacts/native.stamp")));
        Assert.Equal(7, (await StartAsync(_script)).ExitCode);
        Assert.Empty(Directory.GetDirectories(_directory.File("tree/artifacts"), "native-build*"));
    }

    [Fact]
    public async Task Without_an_sdk_the_error_says_what_to_install()
    {
        File.Delete(_directory.File("sdk/dotnet"));
        var result = await StartAsync(_script);
        Assert.Equal((1, ""), (result.ExitCode, result.Output));
        Assert.Contains(".NET SDK", result.Error);
    }

    private int BuildCount => File.Exists(_builds) ? File.ReadAllLines(_builds).Length : 0;

    private void WriteDotnet(string build)
    {
        var path = _directory.File("sdk/dotnet");
        File.WriteAllText(
            path,
            $"""
            #!/bin/sh
            root='{_directory.File("tree")}'
            output="$root/artifacts/bin/Tidemark.Cli/release"
            echo "$@" >>'{_builds}'
            {build}

            """);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    // A path of our own: the machine's real SDK must not be found.
    private async Task<ToolResult> StartAsync(string script, params string[] arguments)
    {
        Directory.CreateDirectory(_directory.File("tools"));
        foreach (var tool in new[] { "bash", "sh", "find", "readlink", "dirname", "mktemp", "touch", "mv", "rm", "cat",
            "mkdir", "flock", "chmod", "uname" })
        {
            if (Tool.Find(tool) is { } found && !File.Exists(_directory.File($"tools/{tool}")))
            {
                try
                {
                    File.CreateSymbolicLink(_directory.File($"tools/{tool}"), found);
                }
                catch (IOException)
                {
                    // Another start of the same test made the link meanwhile.
                }
            }
        }

        return await Tool.RunAsync(
            Tool.Find("bash")!,
            ["-c", "cd / && exec \"$0\" \"$@\"", script, .. arguments],
            environment: new Dictionary<string, string>
            {
                ["PATH"] = $"{_directory.File("sdk")}:{_directory.File("tools")}",
                ["DOTNET_ROOT"] = "/nonexistent",
            });
    }
}
