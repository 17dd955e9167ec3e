%%% Where nodes are: as `erl_epmd' says, but for those that are to be reached through a {@link py_delay}.
-module(py_delay_epmd).

-export([through/2]).
-export([start_link/0, register_node/2, register_node/3, port_please/2, port_please/3, address_please/3, names/1]).
-export([listen_port_please/2]).

%% @doc Reach the node of that name through this port of this machine.
-spec through(string(), inet:port_number()) -> ok.
through(Name, Port) -> persistent_term:put({?MODULE, Name}, Port).

start_link() -> erl_epmd:start_link().
register_node(Name, Port) -> erl_epmd:register_node(Name, Port).
register_node(Name, Port, Family) -> erl_epmd:register_node(Name, Port, Family).
listen_port_please(Name, Host) -> erl_epmd:listen_port_please(Name, Host).
names(Host) -> erl_epmd:names(Host).

port_please(Name, Host) -> port_please(Name, Host, infinity).

port_please(Name, Host, Timeout) ->
    case delayed(Name) of
        undefined -> erl_epmd:port_please(Name, Host, Timeout);
        Port -> {port, Port, 6}
    end.

address_please(Name, Host, Family) ->
    case delayed(Name) of
        undefined -> erl_epmd:address_please(Name, Host, Family);
        Port -> {ok, {127, 0, 0, 1}, Port, 6}
    end.

delayed(Name) when is_atom(Name) -> delayed(atom_to_list(Name));
delayed(Name) -> persistent_term:get({?MODULE, Name}, undefined).
