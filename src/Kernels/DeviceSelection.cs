using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Cuda.Simulator;

namespace Bellman.Kernels;

/// <summary>Where to compute, as users name it.</summary>
public enum DeviceChoice
{
    /// <summary>A card if there is one that can be used, else the CPU.</summary>
    Auto,

    /// <summary>The CPU.</summary>
    Cpu,

    /// <summary>The first NVIDIA card.</summary>
    Cuda,

    /// <summary>
    /// The CUDA kernels on the CPU, every access checked: for authors of kernels who want to see a whole command run, some ten
    /// thousand times slower than a card.
    /// </summary>
    Simulator,
}

/// <summary>A device that was chosen, and why it is no card where one could have been.</summary>
/// <param name="Device">Where to compute.</param>
/// <param name="WhyNotCuda">With <see cref="DeviceChoice.Auto"/> on the CPU: what was looked for and why it failed, in one line; else null.</param>
/// <param name="HasDriver">Whether an NVIDIA driver is installed: falling back to the CPU then is worth a warning.</param>
public sealed record DeviceSelection(Device Device, string? WhyNotCuda, bool HasDriver)
{
    /// <summary>With <see cref="DeviceChoice.Auto"/> on a card: that its kernels have never run on one, in one line with how to check the card; else null.</summary>
    public string? Untried { get; init; }

    /// <summary>The names of <see cref="DeviceChoice"/> in recipes and on the command line.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Enum.GetNames<DeviceChoice>().Select(x => x.ToLowerInvariant())];

    /// <summary>Opens a device by name.</summary>
    /// <exception cref="DeviceException">A card was asked for and there is none that can be used; the message says what was looked for and why it failed.</exception>
    public static DeviceSelection Of(DeviceChoice choice) => Of(choice, () => Device.Cuda(0), NativeCudaDriver.IsInstalled());

    /// <summary>The same by one of <see cref="Names"/>.</summary>
    /// <exception cref="DeviceException">As the other; or there is no such name.</exception>
    public static DeviceSelection Of(string name) => Enum.TryParse(name, ignoreCase: true, out DeviceChoice choice) && Names.Contains(name)
        ? Of(choice)
        : throw new DeviceException($"Device: expected {string.Join(", ", Names)}, received '{name}'.");

    internal static DeviceSelection Of(DeviceChoice choice, Func<Device> openCard, bool hasDriver)
    {
        switch (choice)
        {
            case DeviceChoice.Cpu: return new(Device.Cpu, null, hasDriver);
            case DeviceChoice.Cuda: return new(openCard(), null, hasDriver);
            case DeviceChoice.Simulator: return new(new SimulatorDevice { KeepsReports = false, InstructionLimit = long.MaxValue }, null, hasDriver);
        }
        try
        {
            Device card = openCard();
            return new(card, null, hasDriver) { Untried = SiliconRecord.BuiltIn.Warning(card.Description) };
        }
        catch (DeviceException error)
        {
            return new(Device.Cpu, error.Message, hasDriver);
        }
    }
}
