using System.CommandLine;
using Bellman.Kernels;

namespace Bellman.Cli.Commands;

/// <summary>The option of commands that run models.</summary>
internal sealed class DeviceOpts
{
    public Option<string> Name { get; } = Opt.Choice("--device", DeviceSelection.Names, "auto", "Where to compute; auto takes an NVIDIA GPU if there is one that can be used.");

    public void AddTo(Command command) => command.Add(Name);

    /// <summary>Opens the device. Where a driver is there and auto takes the CPU all the same, it says why; where it takes a card whose kernels no card has run, it says so.</summary>
    public Device Open(ParseResult parsed, Terminal terminal)
    {
        DeviceSelection selection = DeviceSelection.Of(parsed.GetValue(Name)!);
        if (selection is { WhyNotCuda: { } why, HasDriver: true }) terminal.Error.WriteLine($"computing on {selection.Device.Name}: {why}");
        if (selection.Untried is { } untried) terminal.Error.WriteLine($"computing on {selection.Device.Name}: {untried}");
        return selection.Device;
    }
}
