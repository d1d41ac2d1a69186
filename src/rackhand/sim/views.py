"""Devices as the control API shows them: as they really are, whatever they answer on their own."""

from rackhand.sim import wire
from rackhand.sim.bmc import Bmc
from rackhand.sim.config import BmcKind, SnmpConfig
from rackhand.sim.faults import Fault, Faults
from rackhand.sim.network import Network
from rackhand.sim.pdu import Outlet, Pdu
from rackhand.sim.switch import Port, Switch, Vlan


def machine_view(bmc: Bmc, *, tls: bool) -> wire.MachineView:
    """Return a machine as it really is."""
    config, machine = bmc.config, bmc.machine
    address = config.bmc
    override = machine.override
    return wire.MachineView(
        name=config.name,
        serial=config.serial,
        model=config.model,
        configuration=config.configuration,
        rack=config.rack,
        unit=config.unit,
        height=config.height,
        power=machine.power,
        phase=machine.phase,
        mains=machine.has_mains,
        lost_feeds=sorted(feed for feed in config.feeds if not machine.feed_delivers(feed)),
        boot_override=override
        and wire.OverrideView(device=override.device, mode=override.mode, persistent=override.persistent),
        booted_from=machine.booted_from,
        identify=machine.identify,
        macs=[nic.mac for nic in config.nics],
        bmc=wire.BmcAddress(
            kind=address.kind,
            host=bmc.lan.address,
            port=address.port,
            url=bmc_url(address.kind, bmc.lan.address, address.port, tls=tls),
            user=address.user,
            password=address.password,
        ),
        bmc_answers=not bmc.is_silent,
        faults=_faults(bmc.faults),
    )


def bmc_url(kind: BmcKind, host: str, port: int, *, tls: bool) -> str:
    """Return a BMC's address as one word, empty when there is no BMC."""
    if kind is BmcKind.NONE:
        return ""
    scheme = "ipmi" if kind is BmcKind.IPMI else "https" if tls else "http"
    return f"{scheme}://{host}:{port}"


def switch_view(switch: Switch, network: Network) -> wire.SwitchView:
    """Return a switch as it really is."""
    switch.settle()
    config = switch.config
    return wire.SwitchView(
        name=config.name,
        model=config.model,
        mac=config.mac,
        rack=config.rack,
        unit=config.unit,
        snmp=_snmp(config.snmp),
        answers=not switch.is_silent,
        crashed=switch.is_crashed,
        uptime=switch.uptime,
        counter_bits=switch.counter_bits,
        ports=[_port(switch, port, network) for port in switch.ports.values()],
        vlans=[_vlan(vlan) for vlan in switch.vlans.values()],
        faults=_faults(switch.faults),
    )


def pdu_view(pdu: Pdu) -> wire.PduView:
    """Return a PDU as it really is."""
    pdu.settle()
    config = pdu.config
    return wire.PduView(
        name=config.name,
        kind=config.kind,
        mac=config.mac,
        rack=config.rack,
        snmp=_snmp(config.snmp),
        answers=not pdu.is_silent,
        outlets=[_outlet(outlet) for outlet in pdu.outlets.values()],
        faults=_faults(pdu.faults),
    )


def _port(switch: Switch, port: Port, network: Network) -> wire.PortView:
    device, plug = network.plug_in(switch, port) or (None, None)
    return wire.PortView(
        number=port.number,
        index=port.index,
        name=port.name,
        alias=port.alias,
        admin_up=port.admin_up,
        link=port.is_up,
        pvid=port.pvid,
        vlan=switch.untagged_vlan(port),
        speed_mbit=port.speed_mbit,
        octets_in=int(port.octets_in),
        octets_out=int(port.octets_out),
        device=device,
        plug=plug,
    )


def _vlan(vlan: Vlan) -> wire.VlanView:
    return wire.VlanView(
        id=vlan.id, name=vlan.name, egress=sorted(vlan.egress), untagged=sorted(vlan.untagged)
    )


def _outlet(outlet: Outlet) -> wire.OutletView:
    return wire.OutletView(
        number=outlet.number,
        name=outlet.name,
        on=outlet.is_on,
        delivers=outlet.is_closed,
        rebooting=outlet.reboot is not None,
        machine=outlet.config.machine,
        feed=outlet.config.feed,
        watts=round(outlet.watts, 1),
        energy_kwh=outlet.energy_wh / 1000,
    )


def _snmp(snmp: SnmpConfig) -> wire.SnmpAddress:
    user = snmp.user
    return wire.SnmpAddress(
        host=snmp.host,
        port=snmp.port,
        read_community=snmp.read_community,
        write_community=snmp.write_community,
        user=user
        and wire.SnmpUserView(
            name=user.name,
            auth=user.auth,
            auth_password=user.auth_password,
            privacy_password=user.privacy_password,
        ),
    )


def _faults(faults: Faults) -> dict[Fault, wire.ActiveFault]:
    return {
        fault: wire.ActiveFault(value=value, times=times) for fault, (value, times) in faults.all_on().items()
    }
